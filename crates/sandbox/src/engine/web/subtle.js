// `crypto.subtle`, as https://w3c.github.io/webcrypto/ has it. The algorithms are in parts of their own, by family.
//
// Every method is asynchronous by its standard, and computes at once. What it throws rejects its promise. Before it returns
// it waits for the jobs of promises that are already there: the standard does not let a promise be settled sooner.
(function (primordials, natives, part) {
  "use strict";

  const { TypeError } = primordials;
  const { decode, digest, encode } = natives;
  const { bytesOf, enforced, expose, required } = part("shared");
  const {
    CryptoKey, LENGTH_MAX, fault, format, hashNamed, identifier, key, lower, nameOf, only, permitted, source, stateOf,
    usagesOf,
  } = part("keys");

  const SECRET = {};

  // The part of each algorithm. It exports the algorithm by its name in lower case; symmetric.js says what it has.
  const FAMILIES = {
    __proto__: null, "hmac": "symmetric", "aes-cbc": "symmetric", "aes-ctr": "symmetric", "aes-gcm": "symmetric",
    "aes-kw": "symmetric", "hkdf": "symmetric", "pbkdf2": "symmetric", "ecdsa": "elliptic", "ecdh": "elliptic",
    "ed25519": "curve25519", "x25519": "curve25519", "rsassa-pkcs1-v1_5": "rsa", "rsa-pss": "rsa", "rsa-oaep": "rsa",
  };

  function algorithmNamed(name) {
    const lowered = lower(name);
    const family = FAMILIES[lowered];
    return family === undefined ? undefined : part(family)[lowered];
  }

  // Returns the algorithm and its parameters for an operation, or for another one that may stand in for it.
  function normalized(operation, given, other = operation) {
    const name = nameOf(given);
    const algorithm = algorithmNamed(name);
    const paramsOf = algorithm === undefined ? undefined : algorithm[operation] || algorithm[other];
    if (paramsOf === undefined) {
      throw fault("NotSupportedError", "the algorithm '" + name + "' is not supported for " + operation);
    }
    return { __proto__: null, algorithm, name: algorithm.name, params: paramsOf(given) };
  }

  function imported({ algorithm, params }, format, data, extractable, usages) {
    const { usagesFor } = algorithm;
    only(usages, usagesFor === undefined ? algorithm.usages : usagesFor(format, data));
    return algorithm.import(format, data, params, extractable, usages);
  }

  const derived = ({ algorithm, params }, base, length) => algorithm.derive(stateOf(base), params, length);

  // Returns a key in a format: a buffer, or a JWK before scripts see it.
  function exported(format, cryptoKey) {
    const state = stateOf(cryptoKey);
    const algorithm = algorithmNamed(state.name);
    if (algorithm.export === undefined) throw fault("NotSupportedError", "a key of " + state.name + " cannot be exported");
    if (!state.extractable) throw fault("InvalidAccessError", "the key is not extractable");
    return algorithm.export(format, state);
  }

  class SubtleCrypto {
    #brand;

    constructor(secret = undefined) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
    }

    async encrypt(algorithm, cryptoKey, data) {
      this.#brand;
      required(arguments.length, 3, "encrypt");
      algorithm = identifier(algorithm);
      key(cryptoKey);
      source(data, "data");
      const known = normalized("encrypt", algorithm);
      const state = permitted(known, cryptoKey, "encrypt");
      const made = known.algorithm.encryptWith(state, known.params, bytesOf(data));
      await undefined;
      return made;
    }

    async decrypt(algorithm, cryptoKey, data) {
      this.#brand;
      required(arguments.length, 3, "decrypt");
      algorithm = identifier(algorithm);
      key(cryptoKey);
      source(data, "data");
      const known = normalized("decrypt", algorithm);
      const state = permitted(known, cryptoKey, "decrypt");
      const made = known.algorithm.decryptWith(state, known.params, bytesOf(data));
      await undefined;
      return made;
    }

    async sign(algorithm, cryptoKey, data) {
      this.#brand;
      required(arguments.length, 3, "sign");
      algorithm = identifier(algorithm);
      key(cryptoKey);
      source(data, "data");
      const known = normalized("sign", algorithm);
      const state = permitted(known, cryptoKey, "sign");
      const made = known.algorithm.signWith(state, known.params, bytesOf(data));
      await undefined;
      return made;
    }

    async verify(algorithm, cryptoKey, signature, data) {
      this.#brand;
      required(arguments.length, 4, "verify");
      algorithm = identifier(algorithm);
      key(cryptoKey);
      source(signature, "signature");
      source(data, "data");
      const known = normalized("verify", algorithm);
      const state = permitted(known, cryptoKey, "verify");
      const made = known.algorithm.verifyWith(state, known.params, bytesOf(signature), bytesOf(data));
      await undefined;
      return made;
    }

    async digest(algorithm, data) {
      this.#brand;
      required(arguments.length, 2, "digest");
      algorithm = identifier(algorithm);
      source(data, "data");
      const hash = hashNamed(algorithm);
      const made = digest(hash.index, bytesOf(data));
      await undefined;
      return made;
    }

    async generateKey(algorithm, extractable, keyUsages) {
      this.#brand;
      required(arguments.length, 3, "generateKey");
      algorithm = identifier(algorithm);
      extractable = !!extractable;
      const usages = usagesOf(keyUsages);
      const known = normalized("generateKey", algorithm);
      only(usages, known.algorithm.usages);
      const made = known.algorithm.generate(known.params, extractable, usages);
      await undefined;
      return made;
    }

    async deriveKey(algorithm, baseKey, derivedKeyType, extractable, keyUsages) {
      this.#brand;
      required(arguments.length, 5, "deriveKey");
      algorithm = identifier(algorithm);
      key(baseKey);
      derivedKeyType = identifier(derivedKeyType);
      extractable = !!extractable;
      const usages = usagesOf(keyUsages);
      const known = normalized("deriveBits", algorithm);
      const target = normalized("importKey", derivedKeyType);
      const sized = normalized("keyLength", derivedKeyType);
      permitted(known, baseKey, "deriveKey");
      const length = sized.algorithm.length(sized.params);
      const made = imported(target, "raw", derived(known, baseKey, length), extractable, usages);
      await undefined;
      return made;
    }

    async deriveBits(algorithm, baseKey, length = null) {
      this.#brand;
      required(arguments.length, 2, "deriveBits");
      algorithm = identifier(algorithm);
      key(baseKey);
      if (length !== null) length = enforced(length, LENGTH_MAX, "length");
      const known = normalized("deriveBits", algorithm);
      permitted(known, baseKey, "deriveBits");
      const made = derived(known, baseKey, length);
      await undefined;
      return made;
    }

    async importKey(keyFormat, keyData, algorithm, extractable, keyUsages) {
      this.#brand;
      required(arguments.length, 5, "importKey");
      keyFormat = format(keyFormat);
      const isBytes = bytesOf(keyData) !== null;
      if (!isBytes) keyData = part("jwk").jwkOf(keyData);
      algorithm = identifier(algorithm);
      extractable = !!extractable;
      const usages = usagesOf(keyUsages);
      const target = normalized("importKey", algorithm);
      if (isBytes === (keyFormat === "jwk")) throw new TypeError("the key does not have the format " + keyFormat);
      const made = imported(target, keyFormat, keyData, extractable, usages);
      await undefined;
      return made;
    }

    async exportKey(keyFormat, cryptoKey) {
      this.#brand;
      required(arguments.length, 2, "exportKey");
      keyFormat = format(keyFormat);
      const data = exported(keyFormat, key(cryptoKey));
      const made = keyFormat === "jwk" ? part("jwk").shown(data) : data;
      await undefined;
      return made;
    }

    async wrapKey(keyFormat, cryptoKey, wrappingKey, wrapAlgorithm) {
      this.#brand;
      required(arguments.length, 4, "wrapKey");
      keyFormat = format(keyFormat);
      key(cryptoKey);
      key(wrappingKey);
      wrapAlgorithm = identifier(wrapAlgorithm);
      const known = normalized("wrapKey", wrapAlgorithm, "encrypt");
      const state = permitted(known, wrappingKey, "wrapKey");
      const data = exported(keyFormat, cryptoKey);
      const bytes = keyFormat === "jwk" ? encode(part("jwk").serialized(data)) : bytesOf(data);
      const made = known.algorithm.encryptWith(state, known.params, bytes);
      await undefined;
      return made;
    }

    async unwrapKey(keyFormat, wrappedKey, unwrappingKey, unwrapAlgorithm, keyAlgorithm, extractable, keyUsages) {
      this.#brand;
      required(arguments.length, 7, "unwrapKey");
      keyFormat = format(keyFormat);
      source(wrappedKey, "the wrapped key");
      key(unwrappingKey);
      unwrapAlgorithm = identifier(unwrapAlgorithm);
      keyAlgorithm = identifier(keyAlgorithm);
      extractable = !!extractable;
      const usages = usagesOf(keyUsages);
      const known = normalized("unwrapKey", unwrapAlgorithm, "decrypt");
      const target = normalized("importKey", keyAlgorithm);
      const state = permitted(known, unwrappingKey, "unwrapKey");
      const bytes = known.algorithm.decryptWith(state, known.params, bytesOf(wrappedKey));
      const data = keyFormat === "jwk" ? part("jwk").jwkOfText(decode(bytesOf(bytes))) : bytes;
      const made = imported(target, keyFormat, data, extractable, usages);
      await undefined;
      return made;
    }
  }

  expose(SubtleCrypto, "SubtleCrypto");

  return { __proto__: null, subtle: new SubtleCrypto(SECRET), SubtleCrypto, CryptoKey };
})
