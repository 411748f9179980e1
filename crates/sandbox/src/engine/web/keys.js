// What `crypto.subtle` needs of keys and arguments: the class CryptoKey, and conversions.
(function (primordials, natives, part) {
  "use strict";

  const { apply, DOMException, iterator, TypeError, typedArrayBuffer, typedArraySet, Uint8Array } = primordials;
  const { fill, isSeeded, lower } = natives;
  const { arrayOf, bytesOf, enforced, expose, iterate, list, platformObject, sizeOf, toText } = part("shared");

  const SECRET = {};
  const LENGTH_MAX = 4294967295;
  const USAGES = ["encrypt", "decrypt", "sign", "verify", "deriveKey", "deriveBits", "wrapKey", "unwrapKey"];
  const FORMATS = ["raw", "spki", "pkcs8", "jwk"];
  const NO_USAGES = "the usages must be a sequence";

  // In the order of `HASHES` in crypto.rs; bits of a block, and the number in the names of JWKs.
  const hashes = {
    __proto__: null,
    "sha-1": { __proto__: null, index: 0, name: "SHA-1", block: 512, number: "1" },
    "sha-256": { __proto__: null, index: 1, name: "SHA-256", block: 512, number: "256" },
    "sha-384": { __proto__: null, index: 2, name: "SHA-384", block: 1024, number: "384" },
    "sha-512": { __proto__: null, index: 3, name: "SHA-512", block: 1024, number: "512" },
  };

  const fault = (name, message) => new DOMException(message, name);
  const failed = (message) => fault("OperationError", message);
  const wrongData = (message) => fault("DataError", message);
  const noFormat = (name, format) => fault("NotSupportedError", "a key of " + name + " does not have the format " + format);
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

  // Makes a key. Scripts see `algorithm`. The members of `fields` are for the algorithm alone.
  function newKey(type, algorithm, extractable, usages, fields) {
    if (type !== "public") needsUsage(usages);
    return new CryptoKey(SECRET, {
      __proto__: null, type, extractable, algorithm, usages, name: algorithm.name, shown: undefined, ...fields,
    });
  }

  function needsUsage(usages) {
    if (usages.length === 0) throw fault("SyntaxError", "a key needs at least one usage");
  }

  // Makes the two keys of a pair. Each gets those of the usages that are its own, and an object of `algorithmOf`.
  function newPair(algorithmOf, extractable, usages, own, publicFields, privateFields) {
    const privateKey = newKey("private", algorithmOf(), extractable, among(usages, own.private), privateFields);
    return { publicKey: newKey("public", algorithmOf(), true, among(usages, own.public), publicFields), privateKey };
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

  // Returns those of the usages that are allowed.
  function among(usages, allowed) {
    const some = list();
    for (let index = 0; index < usages.length; index++) {
      if (contains(allowed, usages[index])) some[some.length] = usages[index];
    }
    return some;
  }

  // Throws unless a key of this type can be exported.
  function ofType(state, type) {
    if (state.type !== type) throw fault("InvalidAccessError", "the key is not " + type);
  }

  const bufferOf = (view) => apply(typedArrayBuffer, view, []);

  // Returns `size` bytes of a view from `start` on, as a view of the same buffer. The view begins where its buffer does.
  const slice = (view, start, size) => new Uint8Array(bufferOf(view), start, size);

  // Returns the first bits of a shared secret: all of them if `bits` is null.
  function firstBits(secret, bits) {
    if (bits === null) return bufferOf(secret);
    const size = bytesFor(bits);
    if (size > sizeOf(secret)) throw failed("the shared secret has only " + sizeOf(secret) * 8 + " bits");
    const first = copyOf(slice(secret, 0, size));
    if (bits % 8 !== 0) first[size - 1] &= 0xff << (8 - bits % 8);
    return bufferOf(first);
  }

  const bytesFor = (bits) => (bits + 7 - (bits + 7) % 8) / 8;

  function same(one, other) {
    if (sizeOf(one) !== sizeOf(other)) return false;
    for (let index = 0; index < sizeOf(one); index++) {
      if (one[index] !== other[index]) return false;
    }
    return true;
  }

  // Throws under a seed: every generator of keys begins with it.
  function unseeded() {
    if (isSeeded()) throw failed("no key is generated under a seed: it could be guessed");
  }

  function randomBytes(bits) {
    unseeded();
    const size = bytesFor(bits);
    const bytes = new Uint8Array(size);
    fill(bytes);
    if (bits % 8 !== 0) bytes[size - 1] &= 0xff << (8 - bits % 8);
    return bytes;
  }

  expose(CryptoKey, "CryptoKey");
  platformObject({
    name: "CryptoKey",
    is: isKey,
    serialize: stateOf,
    deserialize: (state) => new CryptoKey(SECRET, { __proto__: null, ...state, shown: undefined }),
  });

  return {
    __proto__: null, CryptoKey, LENGTH_MAX, among, bufferOf, bytesIn, contains, copyOf, failed, fault, firstBits, format, hashIn,
    hashNamed, identifier, isKey, isObject, key, lower, member, nameOf, needsUsage, newKey, newPair, noFormat,
    numberIn, ofType, only, permitted, randomBytes, same, slice, source, stateOf, texts, unseeded, usagesOf, wrongData,
  };
})
