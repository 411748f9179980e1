// What `crypto.subtle` needs of keys and arguments: the class CryptoKey, conversions, and the JWK format.
(function (primordials, natives, part) {
  "use strict";

  const { apply, DOMException, fromBase64, iterator, toBase64, TypeError, typedArraySet, Uint8Array } = primordials;
  const { lower } = natives;
  const { arrayOf, bytesOf, enforced, expose, iterate, list, platformObject, sizeOf, toText } = part("shared");

  const SECRET = {};
  const LENGTH_MAX = 4294967295;
  const USAGES = ["encrypt", "decrypt", "sign", "verify", "deriveKey", "deriveBits", "wrapKey", "unwrapKey"];
  const FORMATS = ["raw", "spki", "pkcs8", "jwk"];
  const NO_USAGES = "the usages must be a sequence";
  const NO_OPERATIONS = "key_ops must be a sequence";
  const base64url = { __proto__: null, alphabet: "base64url", omitPadding: true };

  // In the order of `HASHES` in crypto.rs; bits of a block, and the name in a JWK.
  const hashes = {
    __proto__: null,
    "sha-1": { __proto__: null, index: 0, name: "SHA-1", block: 512, jwk: "HS1" },
    "sha-256": { __proto__: null, index: 1, name: "SHA-256", block: 512, jwk: "HS256" },
    "sha-384": { __proto__: null, index: 2, name: "SHA-384", block: 1024, jwk: "HS384" },
    "sha-512": { __proto__: null, index: 3, name: "SHA-512", block: 1024, jwk: "HS512" },
  };

  const fault = (name, message) => new DOMException(message, name);
  const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";

  let stateOf, isKey;

  class CryptoKey {
    #state;

    static {
      stateOf = (key) => key.#state;
      isKey = (object) => typeof object === "object" && object !== null && #state in object;
    }

    constructor(secret = undefined, state = undefined) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      this.#state = state;
    }

    get type() {
      return this.#state.type;
    }
    get extractable() {
      return this.#state.extractable;
    }
    get algorithm() {
      return this.#state.algorithm;
    }
    get usages() {
      if (this.#state.shown === undefined) this.#state.shown = copied(this.#state.usages);
      return this.#state.shown;
    }
  }

  function copied(items) {
    const copy = list();
    for (let index = 0; index < items.length; index++) copy[index] = items[index];
    return arrayOf(copy);
  }

  // Makes a key of `bytes`. Scripts see `algorithm`; `hash` is an entry of `hashes` where there is one.
  function secretKey(bytes, algorithm, hash, extractable, usages) {
    if (usages.length === 0) throw fault("SyntaxError", "a key needs at least one usage");
    return new CryptoKey(SECRET, {
      __proto__: null, type: "secret", extractable, algorithm, usages, bytes, hash, name: algorithm.name, shown: undefined,
    });
  }

  // The argument as WebIDL converts it: an object, or a text.
  const identifier = (algorithm) => isObject(algorithm) ? algorithm : toText(algorithm);

  function nameOf(given) {
    if (typeof given === "string") return given;
    const { name } = given;
    if (name === undefined) throw new TypeError("the algorithm has no name");
    return toText(name);
  }

  // Returns the member of an algorithm's parameters. Throws if it is missing.
  function member(given, name) {
    const value = typeof given === "string" ? undefined : given[name];
    if (value === undefined) throw new TypeError("the algorithm has no " + name);
    return value;
  }

  const numberIn = (given, name, most) => enforced(member(given, name), most, name);
  const bytesIn = (given, name) => copyOf(source(member(given, name), name));
  const hashIn = (given) => hashNamed(identifier(member(given, "hash")));

  function hashNamed(given) {
    const name = nameOf(given);
    const hash = hashes[lower(name)];
    if (hash === undefined) throw fault("NotSupportedError", "the hash '" + name + "' is not supported");
    return hash;
  }

  // Throws unless `value` is a buffer or a view of one.
  function source(value, what) {
    if (bytesOf(value) === null) throw new TypeError(what + " must be an ArrayBuffer or a view of one");
    return value;
  }

  function copyOf(source) {
    const bytes = bytesOf(source);
    const copy = new Uint8Array(sizeOf(bytes));
    apply(typedArraySet, copy, [bytes]);
    return copy;
  }

  function key(value) {
    if (!isKey(value)) throw new TypeError("a CryptoKey is needed");
    return value;
  }

  function texts(value, message) {
    const items = list();
    if (!isObject(value)) throw new TypeError(message);
    for (const item of iterate(value, value[iterator], message)) items[items.length] = toText(item);
    return items;
  }

  // Returns the usages in the order of the standard, each once.
  function usagesOf(value) {
    const given = texts(value, NO_USAGES);
    for (let index = 0; index < given.length; index++) {
      if (!contains(USAGES, given[index])) throw new TypeError("'" + given[index] + "' is no usage of a key");
    }
    const usages = list();
    for (let index = 0; index < USAGES.length; index++) {
      if (contains(given, USAGES[index])) usages[usages.length] = USAGES[index];
    }
    return usages;
  }

  function contains(items, item) {
    for (let index = 0; index < items.length; index++) {
      if (items[index] === item) return true;
    }
    return false;
  }

  function only(usages, allowed) {
    for (let index = 0; index < usages.length; index++) {
      if (!contains(allowed, usages[index])) throw fault("SyntaxError", "'" + usages[index] + "' is no usage of this algorithm");
    }
  }

  function permitted(algorithm, key, usage) {
    const state = stateOf(key);
    if (state.name !== algorithm.name) throw fault("InvalidAccessError", "the key is of another algorithm");
    if (!contains(state.usages, usage)) throw fault("InvalidAccessError", "the key does not have the usage " + usage);
    return state;
  }

  function format(value) {
    const text = toText(value);
    if (!contains(FORMATS, text)) throw new TypeError("'" + text + "' is no format of a key");
    return text;
  }

  // Returns the bytes of a JWK of the type `oct`. `algorithmOf` returns the name that belongs to so many bytes.
  function fromJwk(jwk, algorithmOf, use, extractable, usages) {
    if (jwk.kty !== "oct") throw fault("DataError", "the JWK is not of the type oct");
    if (jwk.k === undefined) throw fault("DataError", "the JWK has no k");
    let bytes;
    try {
      bytes = fromBase64(jwk.k, base64url);
    } catch {
      throw fault("DataError", "k is not base64url");
    }
    const algorithm = algorithmOf(sizeOf(bytes));
    if (jwk.alg !== undefined && jwk.alg !== algorithm) throw fault("DataError", "alg is not " + algorithm);
    if (usages.length > 0 && jwk.use !== undefined && jwk.use !== use) throw fault("DataError", "use is not " + use);
    for (let index = 0; jwk.key_ops !== undefined && index < usages.length; index++) {
      if (!contains(jwk.key_ops, usages[index])) throw fault("DataError", "key_ops does not have " + usages[index]);
    }
    if (jwk.ext === false && extractable) throw fault("DataError", "the JWK is not extractable");
    return bytes;
  }

  // Reads the members of a JWK in the order of WebIDL.
  function jwkOf(value) {
    if (!isObject(value)) throw new TypeError("a JWK must be an object");
    const jwk = { __proto__: null };
    const text = (name) => {
      const present = value[name];
      if (present !== undefined) jwk[name] = toText(present);
    };
    text("alg");
    const { ext } = value;
    if (ext !== undefined) jwk.ext = !!ext;
    text("k");
    const operations = value.key_ops;
    if (operations !== undefined) jwk.key_ops = texts(operations, NO_OPERATIONS);
    text("kty");
    text("use");
    return jwk;
  }

  const toJwk = (state, alg) => ({
    kty: "oct", k: apply(toBase64, state.bytes, [base64url]), alg, key_ops: copied(state.usages), ext: true,
  });

  expose(CryptoKey, "CryptoKey");
  platformObject({
    name: "CryptoKey",
    is: isKey,
    serialize: stateOf,
    deserialize: (state) => new CryptoKey(SECRET, { __proto__: null, ...state, shown: undefined }),
  });

  return {
    __proto__: null, CryptoKey, LENGTH_MAX, bytesIn, copyOf, fault, format, fromJwk, hashIn, hashNamed, identifier, jwkOf,
    key, nameOf, numberIn, only, permitted, secretKey, source, stateOf, toJwk, usagesOf,
  };
})
