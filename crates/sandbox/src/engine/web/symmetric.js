// The algorithms with secret keys for `crypto.subtle`: HMAC, AES, HKDF and PBKDF2.
//
// What each algorithm can do. A member with the name of an operation reads the parameters of that operation from `given`;
// without it the operation is not supported. The other members act on the state of a key.
(function (primordials, natives, part) {
  "use strict";

  const { TypeError, Uint8Array } = primordials;
  const { cbc, ctr, gcm, hkdf, hmac, hmacIsRight, kw, pbkdf2 } = natives;
  const { enforced, sizeOf } = part("shared");
  const {
    LENGTH_MAX, bufferOf, bytesIn, copyOf, failed, fault, hashIn, newKey, noFormat, numberIn, randomBytes, source,
    wrongData,
  } = part("keys");

  const OCTET_MAX = 255;
  const SHORT_MAX = 65535;
  const BLOCK_BYTES = 16;
  const MATERIAL_USAGES = ["deriveKey", "deriveBits"];
  const SIGN_USAGES = ["sign", "verify"];
  const CRYPT_USAGES = ["encrypt", "decrypt", "wrapKey", "unwrapKey"];
  const WRAP_USAGES = ["wrapKey", "unwrapKey"];
  const TAG_BITS = { __proto__: null, 32: 1, 64: 1, 96: 1, 104: 1, 112: 1, 120: 1, 128: 1 };

  // The parameters of an operation that has none.
  const none = () => null;

  // Returns the bytes of a secret key. `algorithmOf` returns the name that belongs to so many bytes in a JWK.
  function secretOf(format, data, algorithmOf, use, extractable, usages) {
    if (format === "raw") return copyOf(data);
    const { bytesOfMember, checkJwk, checkName } = part("jwk");
    checkJwk(data, "oct", use, extractable, usages);
    const bytes = bytesOfMember(data, "k");
    checkName(data, "alg", algorithmOf(sizeOf(bytes)));
    return bytes;
  }

  // Returns a secret key in a format.
  function exported(format, state, alg) {
    if (format === "raw") return bufferOf(copyOf(state.bytes));
    if (format !== "jwk") throw noFormat(state.name, format);
    const { textOf, toJwk } = part("jwk");
    return toJwk(state, { __proto__: null, kty: "oct", k: textOf(state.bytes), alg });
  }

  const hmacAlgorithm = {
    __proto__: null,
    name: "HMAC",
    sign: none,
    verify: none,
    importKey: (given) => hmacParams(given),
    generateKey: (given) => hmacParams(given),
    keyLength: (given) => hmacParams(given),
    usages: SIGN_USAGES,
    signWith: ({ hash, bytes }, params, data) => hmac(hash.index, bytes, data),
    verifyWith: ({ hash, bytes }, params, signature, data) => hmacIsRight(hash.index, bytes, signature, data),

    length({ hash, length }) {
      if (length === 0) throw new TypeError("the length of a key is 0");
      return length === undefined ? hash.block : length;
    },

    import(format, data, { hash, length }, extractable, usages) {
      if (format !== "raw" && format !== "jwk") throw noFormat("HMAC", format);
      const bytes = secretOf(format, data, () => "HS" + hash.number, "sig", extractable, usages);
      let bits = sizeOf(bytes) * 8;
      if (bits === 0) throw wrongData("the key is empty");
      if (length !== undefined) {
        if (length > bits || length <= bits - 8) throw wrongData("the length is not that of the key");
        bits = length;
      }
      return hmacKey(bytes, bits, hash, extractable, usages);
    },

    generate({ hash, length }, extractable, usages) {
      if (length === 0) throw failed("the length of a key is 0");
      const bits = length === undefined ? hash.block : length;
      return hmacKey(randomBytes(bits), bits, hash, extractable, usages);
    },

    export: (format, state) => exported(format, state, "HS" + state.hash.number),
  };

  const hmacKey = (bytes, length, hash, extractable, usages) =>
    newKey("secret", { name: "HMAC", hash: { name: hash.name }, length }, extractable, usages, { __proto__: null, bytes, hash });

  function hmacParams(given) {
    const hash = hashIn(given);
    const { length } = given;
    return { __proto__: null, hash, length: length === undefined ? undefined : enforced(length, LENGTH_MAX, "length") };
  }

  // Makes the entry of a mode of AES, without what it encrypts with.
  function aes(mode, use, usages) {
    const name = "AES-" + mode;
    const isLength = (bits) => bits === 128 || bits === 192 || bits === 256;
    const jwkName = (size) => "A" + (size * 8) + mode;
    const aesKey = (bytes, extractable, usages) =>
      newKey("secret", { name, length: sizeOf(bytes) * 8 }, extractable, usages, { __proto__: null, bytes });
    const lengthIn = (given) => numberIn(given, "length", SHORT_MAX);
    const checked = (length) => {
      if (!isLength(length)) throw failed("the length of a key must be 128, 192 or 256");
      return length;
    };
    return {
      __proto__: null,
      name,
      importKey: none,
      generateKey: lengthIn,
      keyLength: lengthIn,
      length: checked,
      usages,

      import(format, data, params, extractable, usages) {
        if (format !== "raw" && format !== "jwk") throw noFormat(name, format);
        const bytes = secretOf(format, data, jwkName, use, extractable, usages);
        if (!isLength(sizeOf(bytes) * 8)) throw wrongData("the key must have 128, 192 or 256 bits");
        return aesKey(bytes, extractable, usages);
      },

      generate: (length, extractable, usages) => aesKey(randomBytes(checked(length)), extractable, usages),
      export: (format, state) => exported(format, state, jwkName(sizeOf(state.bytes))),
    };
  }

  // Makes the entry of a mode that encrypts data. `apply` takes whether it encrypts, the key, the parameters and the data.
  function cipher(mode, params, apply) {
    const entry = aes(mode, "enc", CRYPT_USAGES);
    entry.encrypt = entry.decrypt = params;
    entry.encryptWith = (state, params, data) => crypted(apply(true, state.bytes, params, data));
    entry.decryptWith = (state, params, data) => crypted(apply(false, state.bytes, params, data));
    return entry;
  }

  function crypted(made) {
    if (made === undefined) throw failed("the data cannot be encrypted or decrypted with this key and these parameters");
    return made;
  }

  const aesCbc = cipher("CBC", (given) => bytesIn(given, "iv"), (isEncrypting, key, iv, data) =>
    cbc(isEncrypting, key, ofBlock(iv, "iv"), data));

  const aesCtr = cipher("CTR", (given) => {
    const counter = bytesIn(given, "counter");
    return { __proto__: null, counter, length: numberIn(given, "length", OCTET_MAX) };
  }, (isEncrypting, key, { counter, length }, data) => ctr(key, ofBlock(counter, "counter"), length, data));

  const aesGcm = cipher("GCM", (given) => {
    const { additionalData } = given;
    const extra = additionalData === undefined ? new Uint8Array() : copyOf(source(additionalData, "additionalData"));
    const iv = bytesIn(given, "iv");
    const { tagLength } = given;
    const tag = tagLength === undefined ? 128 : enforced(tagLength, OCTET_MAX, "tagLength");
    return { __proto__: null, extra, iv, tag };
  }, (isEncrypting, key, { extra, iv, tag }, data) => {
    if (TAG_BITS[tag] === undefined) throw failed("tagLength must be 32, 64, 96, 104, 112, 120 or 128");
    if (sizeOf(iv) === 0) throw failed("the iv is empty");
    return gcm(isEncrypting, key, iv, extra, tag / 8, data);
  });

  const aesKw = aes("KW", "enc", WRAP_USAGES);
  aesKw.wrapKey = aesKw.unwrapKey = none;
  aesKw.encryptWith = (state, params, data) => {
    const wrapped = kw(true, state.bytes, data);
    if (wrapped === undefined) throw failed("AES-KW wraps a multiple of 8 bytes, and at least 16");
    return wrapped;
  };
  aesKw.decryptWith = (state, params, data) => crypted(kw(false, state.bytes, data));

  function ofBlock(bytes, what) {
    if (sizeOf(bytes) !== BLOCK_BYTES) throw failed(what + " must have " + BLOCK_BYTES + " bytes");
    return bytes;
  }

  // Makes the entry of an algorithm that derives.
  function derivation(name, params, derive) {
    return {
      __proto__: null,
      name,
      importKey: none,
      keyLength: none,
      deriveBits: params,
      length: () => null,
      usages: MATERIAL_USAGES,

      derive(state, params, length) {
        if (length === null || length % 8 !== 0) throw failed("the length must be a multiple of 8");
        return derive(state.bytes, params, length / 8);
      },

      import(format, data, params, extractable, usages) {
        if (format !== "raw") throw noFormat(name, format);
        if (extractable) throw fault("SyntaxError", "a key of " + name + " cannot be extractable");
        return newKey("secret", { name }, false, usages, { __proto__: null, bytes: copyOf(data) });
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
    if (size === 0) throw failed("the length must be at least 8");
    return pbkdf2(hash.index, bytes, salt, iterations, size);
  });

  return {
    __proto__: null, "hmac": hmacAlgorithm, "aes-cbc": aesCbc, "aes-ctr": aesCtr, "aes-gcm": aesGcm, "aes-kw": aesKw,
    "hkdf": hkdfAlgorithm, "pbkdf2": pbkdf2Algorithm,
  };
})
