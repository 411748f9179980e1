// RSASSA-PKCS1-v1_5, RSA-PSS and RSA-OAEP for `crypto.subtle`. symmetric.js says what the members of an algorithm are.
(function (primordials, natives, part) {
  "use strict";

  const { apply, typedArrayTag, TypeError, Uint8Array } = primordials;
  const {
    packPrivate, packPublic, rsaCrypt, rsaGenerate, rsaMayGenerate, rsaNumbers, rsaPack, rsaPublic, rsaSign, rsaVerify, unpack,
  } = natives;
  const { bytesOf, list, sizeOf } = part("shared");
  const {
    LENGTH_MAX, among, copyOf, failed, fault, hashIn, member, needsUsage, newKey, newPair, noFormat, numberIn, ofType,
    source, unseeded, wrongData,
  } = part("keys");
  const { bytesOfMember, checkJwk, checkName, textOf, toJwk } = part("jwk");

  // The scheme RSASSA-PKCS1-v1_5 in the place of the length of a salt.
  const PKCS1 = -1;
  const PUBLIC_NUMBERS = ["n", "e"];
  const PRIVATE_NUMBERS = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
  const NO_GENERATION = "no key is generated with this modulusLength and this publicExponent";
  const none = () => null;

  const isPrivate = (format, data) => format === "pkcs8" || (format === "jwk" && data.d !== undefined);

  function generationParams(given) {
    const modulusLength = numberIn(given, "modulusLength", LENGTH_MAX);
    const publicExponent = member(given, "publicExponent");
    if (apply(typedArrayTag, publicExponent, []) !== "Uint8Array") throw new TypeError("publicExponent must be a Uint8Array");
    const exponent = copyOf(publicExponent);
    return { __proto__: null, modulusLength, exponent, hash: hashIn(given) };
  }

  // What scripts see of a key, from its numbers.
  const algorithmOf = (name, hash, numbers) => ({
    name,
    modulusLength: bitsOf(numbers[0]),
    publicExponent: copyOf(numbers[1]),
    hash: { name: hash.name },
  });

  // Returns the bits of a number whose first byte is not 0.
  function bitsOf(number) {
    let bits = (sizeOf(number) - 1) * 8;
    for (let first = number[0]; first > 0; first >>= 1) bits++;
    return bits;
  }

  // Returns the bytes of a key in a format, in the structure of PKCS#1. They need not be those of a valid key.
  function structureOf(format, data) {
    if (format === "jwk") return ofJwk(data);
    const found = unpack(format === "pkcs8", bytesOf(data));
    if (found === undefined || found.kind !== "RSA") throw wrongData("the key is not one of RSA");
    return found.key;
  }

  function ofJwk(jwk) {
    if (jwk.oth !== undefined) throw fault("NotSupportedError", "a key of RSA has two factors");
    const names = jwk.d === undefined ? PUBLIC_NUMBERS : PRIVATE_NUMBERS;
    const numbers = list();
    for (let index = 0; index < names.length; index++) numbers[index] = bytesOfMember(jwk, names[index]);
    const bytes = rsaPack(numbers);
    if (bytes === undefined) throw wrongData("the JWK is no key of RSA");
    return bytes;
  }

  // Makes the entry of an algorithm. `own` has the usages of each key; `use` and `alg` are what a JWK may say.
  function rsa(name, own, use, alg) {
    return {
      __proto__: null,
      name,
      importKey: hashIn,
      generateKey: generationParams,
      usages: own.all,
      usagesFor: (format, data) => isPrivate(format, data) ? own.private : own.public,

      import(format, data, hash, extractable, usages) {
        if (format === "raw") throw noFormat(name, format);
        if (format === "jwk") {
          checkJwk(data, "RSA", use, extractable, usages);
          checkName(data, "alg", alg(hash));
        }
        const bytes = structureOf(format, data);
        const numbers = rsaNumbers(isPrivate(format, data), bytes);
        if (numbers === undefined) throw wrongData("the key is not valid, or its modulus or exponent is too short or too long");
        const type = isPrivate(format, data) ? "private" : "public";
        return newKey(type, algorithmOf(name, hash, numbers), extractable, usages, { __proto__: null, bytes, hash });
      },

      generate({ modulusLength, exponent, hash }, extractable, usages) {
        unseeded();
        if (!rsaMayGenerate(modulusLength, exponent)) throw failed(NO_GENERATION);
        // Here already: the search for factors is long.
        needsUsage(among(usages, own.private));
        const bytes = rsaGenerate(modulusLength, exponent);
        if (bytes === undefined) throw failed(NO_GENERATION);
        const numbers = rsaNumbers(true, bytes);
        const publicFields = { __proto__: null, bytes: rsaPublic(bytes), hash };
        const privateFields = { __proto__: null, bytes, hash };
        return newPair(() => algorithmOf(name, hash, numbers), extractable, usages, own, publicFields, privateFields);
      },

      export(format, state) {
        if (format === "raw") throw noFormat(name, format);
        if (format === "spki") {
          ofType(state, "public");
          return packPublic("RSA", state.bytes);
        }
        if (format === "pkcs8") {
          ofType(state, "private");
          return packPrivate("RSA", state.bytes, new Uint8Array());
        }
        const isPrivate = state.type === "private";
        const numbers = rsaNumbers(isPrivate, state.bytes);
        const names = isPrivate ? PRIVATE_NUMBERS : PUBLIC_NUMBERS;
        const jwk = { __proto__: null, kty: "RSA", alg: alg(state.hash) };
        for (let index = 0; index < names.length; index++) jwk[names[index]] = textOf(numbers[index]);
        return toJwk(state, jwk);
      },
    };
  }

  const SIGN_USAGES = { __proto__: null, all: ["sign", "verify"], public: ["verify"], private: ["sign"] };

  // Makes the entry of an algorithm that signs. `saltOf` returns the length of the salt from the parameters.
  function signer(name, params, saltOf, alg) {
    const entry = rsa(name, SIGN_USAGES, "sig", alg);
    entry.sign = entry.verify = params;

    entry.signWith = (state, params, data) => {
      ofType(state, "private");
      const signature = rsaSign(state.hash.index, saltOf(params), state.bytes, data);
      if (signature === undefined) throw failed("the modulus is too short for this hash and this salt");
      return signature;
    };

    entry.verifyWith = (state, params, signature, data) => {
      ofType(state, "public");
      return rsaVerify(state.hash.index, saltOf(params), state.bytes, signature, data);
    };
    return entry;
  }

  const pkcs1 = signer("RSASSA-PKCS1-v1_5", none, () => PKCS1, (hash) => "RS" + hash.number);
  const pss = signer("RSA-PSS", (given) => numberIn(given, "saltLength", LENGTH_MAX), (salt) => salt, (hash) => "PS" + hash.number);

  const oaep = rsa("RSA-OAEP", {
    __proto__: null,
    all: ["encrypt", "decrypt", "wrapKey", "unwrapKey"],
    public: ["encrypt", "wrapKey"],
    private: ["decrypt", "unwrapKey"],
  }, "enc", (hash) => hash.number === "1" ? "RSA-OAEP" : "RSA-OAEP-" + hash.number);

  oaep.encrypt = oaep.decrypt = (given) => {
    const label = typeof given === "string" ? undefined : given.label;
    return label === undefined ? new Uint8Array() : copyOf(source(label, "label"));
  };

  oaep.encryptWith = (state, label, data) => {
    ofType(state, "public");
    const made = rsaCrypt(true, state.hash.index, state.bytes, label, data);
    if (made === undefined) throw failed("the data is too long for this modulus and this hash");
    return made;
  };

  oaep.decryptWith = (state, label, data) => {
    ofType(state, "private");
    const made = rsaCrypt(false, state.hash.index, state.bytes, label, data);
    if (made === undefined) throw failed("the data cannot be decrypted with this key and this label");
    return made;
  };

  return { __proto__: null, "rsassa-pkcs1-v1_5": pkcs1, "rsa-pss": pss, "rsa-oaep": oaep };
})
