// `crypto.subtle`, as https://w3c.github.io/webcrypto/ has it: digests, HMAC, AES, HKDF and PBKDF2.
//
// Every method is asynchronous by its standard, and computes at once. So an async function is enough, and it waits for
// nothing: what it throws rejects its promise.
(function (primordials, natives, part) {
  "use strict";

  const { apply, TypeError, typedArrayBuffer, Uint8Array } = primordials;
  const { cbc, ctr, digest, fill, gcm, hkdf, hmac, hmacIsRight, isSeeded, lower, pbkdf2 } = natives;
  const { bytesOf, enforced, expose, required, sizeOf } = part("shared");
  const {
    CryptoKey, LENGTH_MAX, bytesIn, copyOf, fault, format, fromJwk, hashIn, hashNamed, identifier, jwkOf, key, nameOf,
    numberIn, only, permitted, secretKey, source, stateOf, toJwk, usagesOf,
  } = part("keys");

  const SECRET = {};
  const OCTET_MAX = 255;
  const SHORT_MAX = 65535;
  const MATERIAL_USAGES = ["deriveKey", "deriveBits"];
  const TAG_BITS = { __proto__: null, 32: 1, 64: 1, 96: 1, 104: 1, 112: 1, 120: 1, 128: 1 };
  const BLOCK_BYTES = 16;

  const failed = (message) => fault("OperationError", message);
  const noFormat = (name, format) => fault("NotSupportedError", "a key of " + name + " does not have the format " + format);

  // The parameters of an operation that has none.
  const none = () => null;

  // What each algorithm can do. A member with the name of an operation reads the parameters of that operation from
  // `given`; without it the operation is not supported.

  const hmacAlgorithm = {
    __proto__: null,
    name: "HMAC",
    usages: ["sign", "verify"],
    sign: none,
    verify: none,
    importKey: (given) => hmacParams(given),
    generateKey: (given) => hmacParams(given),
    keyLength: (given) => hmacParams(given),

    length({ hash, length }) {
      if (length === 0) throw new TypeError("the length of a key is 0");
      return length === undefined ? hash.block : length;
    },

    import(format, data, { hash, length }, extractable, usages) {
      if (format !== "raw" && format !== "jwk") throw noFormat("HMAC", format);
      const bytes = format === "raw" ? copyOf(data) : fromJwk(data, () => hash.jwk, "sig", extractable, usages);
      let bits = sizeOf(bytes) * 8;
      if (bits === 0) throw fault("DataError", "the key is empty");
      if (length !== undefined) {
        if (length > bits || length <= bits - 8) throw fault("DataError", "the length is not that of the key");
        bits = length;
      }
      return secretKey(bytes, { name: "HMAC", hash: { name: hash.name }, length: bits }, hash, extractable, usages);
    },

    generate({ hash, length }, extractable, usages) {
      if (length === 0) throw failed("the length of a key is 0");
      const bits = length === undefined ? hash.block : length;
      const algorithm = { name: "HMAC", hash: { name: hash.name }, length: bits };
      return secretKey(randomBytes(bits), algorithm, hash, extractable, usages);
    },

    jwk: (state) => state.hash.jwk,
  };

  function hmacParams(given) {
    const hash = hashIn(given);
    const { length } = given;
    return { __proto__: null, hash, length: length === undefined ? undefined : enforced(length, LENGTH_MAX, "length") };
  }

  // Makes the entry of a mode of AES.
  function aes(mode, params, encrypt, decrypt) {
    const name = "AES-" + mode;
    const isLength = (bits) => bits === 128 || bits === 192 || bits === 256;
    const jwkName = (size) => "A" + (size * 8) + mode;
    const aesKey = (bytes, extractable, usages) =>
      secretKey(bytes, { name, length: sizeOf(bytes) * 8 }, undefined, extractable, usages);
    const lengthIn = (given) => numberIn(given, "length", SHORT_MAX);
    const checked = (length) => {
      if (!isLength(length)) throw failed("the length of a key must be 128, 192 or 256");
      return length;
    };
    return {
      __proto__: null,
      name,
      usages: ["encrypt", "decrypt", "wrapKey", "unwrapKey"],
      encrypt: params,
      decrypt: params,
      importKey: none,
      generateKey: lengthIn,
      keyLength: lengthIn,
      length: checked,
      encryptWith: encrypt,
      decryptWith: decrypt,

      import(format, data, params, extractable, usages) {
        if (format !== "raw" && format !== "jwk") throw noFormat(name, format);
        const bytes = format === "raw" ? copyOf(data) : fromJwk(data, jwkName, "enc", extractable, usages);
        if (!isLength(sizeOf(bytes) * 8)) throw fault("DataError", "the key must have 128, 192 or 256 bits");
        return aesKey(bytes, extractable, usages);
      },

      generate: (length, extractable, usages) => aesKey(randomBytes(checked(length)), extractable, usages),
      jwk: (state) => jwkName(sizeOf(state.bytes)),
    };
  }

  const applyCbc = (isEncrypting) => (key, iv, data) => cbc(isEncrypting, key, ofBlock(iv, "iv"), data);
  const aesCbc = aes("CBC", (given) => bytesIn(given, "iv"), applyCbc(true), applyCbc(false));

  const ctrParams = (given) => {
    const counter = bytesIn(given, "counter");
    return { __proto__: null, counter, length: numberIn(given, "length", OCTET_MAX) };
  };
  const applyCtr = (key, { counter, length }, data) => ctr(key, ofBlock(counter, "counter"), length, data);
  const aesCtr = aes("CTR", ctrParams, applyCtr, applyCtr);

  const gcmParams = (given) => {
    const { additionalData } = given;
    const extra = additionalData === undefined ? new Uint8Array() : copyOf(source(additionalData, "additionalData"));
    const iv = bytesIn(given, "iv");
    const { tagLength } = given;
    const tag = tagLength === undefined ? 128 : enforced(tagLength, OCTET_MAX, "tagLength");
    return { __proto__: null, extra, iv, tag };
  };
  const applyGcm = (isEncrypting) => (key, { extra, iv, tag }, data) => {
    if (TAG_BITS[tag] === undefined) throw failed("tagLength must be 32, 64, 96, 104, 112, 120 or 128");
    if (sizeOf(iv) === 0) throw failed("the iv is empty");
    return gcm(isEncrypting, key, iv, extra, tag / 8, data);
  };
  const aesGcm = aes("GCM", gcmParams, applyGcm(true), applyGcm(false));

  function ofBlock(bytes, what) {
    if (sizeOf(bytes) !== BLOCK_BYTES) throw failed(what + " must have " + BLOCK_BYTES + " bytes");
    return bytes;
  }

  // Makes the entry of an algorithm that derives.
  function derivation(name, params, derive) {
    return {
      __proto__: null,
      name,
      usages: MATERIAL_USAGES,
      importKey: none,
      keyLength: none,
      deriveBits: params,
      length: () => null,
      derive,

      import(format, data, params, extractable, usages) {
        if (format !== "raw") throw noFormat(name, format);
        if (extractable) throw fault("SyntaxError", "a key of " + name + " cannot be extractable");
        return secretKey(copyOf(data), { name }, undefined, false, usages);
      },
    };
  }

  const hkdfAlgorithm = derivation("HKDF", (given) => {
    const hash = hashIn(given);
    const info = bytesIn(given, "info");
    return { __proto__: null, hash, info, salt: bytesIn(given, "salt") };
  }, (bytes, { hash, info, salt }, size) => {
    const bits = hkdf(hash.index, bytes, salt, info, size);
    if (bits === undefined) throw failed("HKDF gives at most 255 blocks of its hash");
    return bits;
  });

  const pbkdf2Algorithm = derivation("PBKDF2", (given) => {
    const hash = hashIn(given);
    const iterations = numberIn(given, "iterations", LENGTH_MAX);
    return { __proto__: null, hash, iterations, salt: bytesIn(given, "salt") };
  }, (bytes, { hash, iterations, salt }, size) => {
    if (iterations === 0) throw failed("iterations must be at least 1");
    return pbkdf2(hash.index, bytes, salt, iterations, size);
  });

  const algorithms = {
    __proto__: null, "hmac": hmacAlgorithm, "aes-cbc": aesCbc, "aes-ctr": aesCtr, "aes-gcm": aesGcm,
    "hkdf": hkdfAlgorithm, "pbkdf2": pbkdf2Algorithm,
  };

  // Returns the algorithm and its parameters for an operation.
  function normalized(operation, given) {
    const name = nameOf(given);
    const algorithm = algorithms[lower(name)];
    if (algorithm === undefined || algorithm[operation] === undefined) {
      throw fault("NotSupportedError", "the algorithm '" + name + "' is not supported for " + operation);
    }
    return { __proto__: null, algorithm, name: algorithm.name, params: algorithm[operation](given) };
  }

  function randomBytes(bits) {
    if (isSeeded()) throw failed("no key is generated under a seed: it could be guessed");
    const size = (bits + 7 - (bits + 7) % 8) / 8;
    const bytes = new Uint8Array(size);
    fill(bytes);
    if (bits % 8 !== 0) bytes[size - 1] &= 0xff << (8 - bits % 8);
    return bytes;
  }

  function imported(target, format, data, extractable, usages) {
    only(usages, target.algorithm.usages);
    return target.algorithm.import(format, data, target.params, extractable, usages);
  }

  function derived({ algorithm, params }, base, length) {
    if (length === null || length % 8 !== 0) throw failed("the length must be a multiple of 8");
    return algorithm.derive(stateOf(base).bytes, params, length / 8);
  }

  function crypted(made) {
    if (made === undefined) throw failed("the data cannot be encrypted or decrypted with this key and these parameters");
    return made;
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
      const { bytes } = permitted(known, cryptoKey, "encrypt");
      return crypted(known.algorithm.encryptWith(bytes, known.params, bytesOf(data)));
    }

    async decrypt(algorithm, cryptoKey, data) {
      this.#brand;
      required(arguments.length, 3, "decrypt");
      algorithm = identifier(algorithm);
      key(cryptoKey);
      source(data, "data");
      const known = normalized("decrypt", algorithm);
      const { bytes } = permitted(known, cryptoKey, "decrypt");
      return crypted(known.algorithm.decryptWith(bytes, known.params, bytesOf(data)));
    }

    async sign(algorithm, cryptoKey, data) {
      this.#brand;
      required(arguments.length, 3, "sign");
      algorithm = identifier(algorithm);
      key(cryptoKey);
      source(data, "data");
      const { hash, bytes } = permitted(normalized("sign", algorithm), cryptoKey, "sign");
      return hmac(hash.index, bytes, bytesOf(data));
    }

    async verify(algorithm, cryptoKey, signature, data) {
      this.#brand;
      required(arguments.length, 4, "verify");
      algorithm = identifier(algorithm);
      key(cryptoKey);
      source(signature, "signature");
      source(data, "data");
      const { hash, bytes } = permitted(normalized("verify", algorithm), cryptoKey, "verify");
      return hmacIsRight(hash.index, bytes, bytesOf(signature), bytesOf(data));
    }

    async digest(algorithm, data) {
      this.#brand;
      required(arguments.length, 2, "digest");
      algorithm = identifier(algorithm);
      source(data, "data");
      const hash = hashNamed(algorithm);
      return digest(hash.index, bytesOf(data));
    }

    async generateKey(algorithm, extractable, keyUsages) {
      this.#brand;
      required(arguments.length, 3, "generateKey");
      algorithm = identifier(algorithm);
      extractable = !!extractable;
      const usages = usagesOf(keyUsages);
      const known = normalized("generateKey", algorithm);
      only(usages, known.algorithm.usages);
      return known.algorithm.generate(known.params, extractable, usages);
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
      return imported(target, "raw", derived(known, baseKey, length), extractable, usages);
    }

    async deriveBits(algorithm, baseKey, length = null) {
      this.#brand;
      required(arguments.length, 2, "deriveBits");
      algorithm = identifier(algorithm);
      key(baseKey);
      if (length !== null) length = enforced(length, LENGTH_MAX, "length");
      const known = normalized("deriveBits", algorithm);
      permitted(known, baseKey, "deriveBits");
      return derived(known, baseKey, length);
    }

    async importKey(keyFormat, keyData, algorithm, extractable, keyUsages) {
      this.#brand;
      required(arguments.length, 5, "importKey");
      keyFormat = format(keyFormat);
      const isBytes = bytesOf(keyData) !== null;
      if (!isBytes) keyData = jwkOf(keyData);
      algorithm = identifier(algorithm);
      extractable = !!extractable;
      const usages = usagesOf(keyUsages);
      const target = normalized("importKey", algorithm);
      if (isBytes === (keyFormat === "jwk")) throw new TypeError("the key does not have the format " + keyFormat);
      return imported(target, keyFormat, keyData, extractable, usages);
    }

    async exportKey(keyFormat, cryptoKey) {
      this.#brand;
      required(arguments.length, 2, "exportKey");
      keyFormat = format(keyFormat);
      const state = stateOf(key(cryptoKey));
      const algorithm = algorithms[lower(state.name)];
      if (algorithm.jwk === undefined) throw fault("NotSupportedError", "a key of " + state.name + " cannot be exported");
      if (!state.extractable) throw fault("InvalidAccessError", "the key is not extractable");
      if (keyFormat === "raw") return apply(typedArrayBuffer, copyOf(state.bytes), []);
      if (keyFormat !== "jwk") throw noFormat(state.name, keyFormat);
      return toJwk(state, algorithm.jwk(state));
    }
  }

  expose(SubtleCrypto, "SubtleCrypto");

  return { __proto__: null, subtle: new SubtleCrypto(SECRET), SubtleCrypto, CryptoKey };
})
