// Ed25519 and X25519 for `crypto.subtle`. symmetric.js says what the members of an algorithm are.
(function (primordials, natives, part) {
  "use strict";

  const { TypeError, Uint8Array } = primordials;
  const { edPublic, edSign, edVerify, packPrivate, packPublic, unpack, x25519, xPublic } = natives;
  const { bytesOf, sizeOf } = part("shared");
  const {
    bufferOf, contains, copyOf, failed, fault, firstBits, isKey, member, newKey, newPair, ofType, randomBytes, same,
    stateOf, wrongData,
  } = part("keys");
  const { bytesOfMember, checkJwk, textOf, toJwk } = part("jwk");

  const KEY_BYTES = 32;
  // The names that a JWK may have for Ed25519: of RFC 9864 and of RFC 8037.
  const SIGNATURE_NAMES = ["Ed25519", "EdDSA"];
  const MATERIAL_USAGES = ["deriveKey", "deriveBits"];
  const none = () => null;

  const isPrivate = (format, data) => format === "pkcs8" || (format === "jwk" && data.d !== undefined);

  function sized(bytes) {
    if (sizeOf(bytes) !== KEY_BYTES) throw wrongData("a key must have " + KEY_BYTES + " bytes");
    return bytes;
  }

  // Makes the entry of an algorithm. `own` has the usages of each key, `use` is what a JWK may say, and `publicOf` returns
  // the public key of a private key.
  function octets(name, own, use, publicOf) {
    // The members of a key's state. A public key is kept as it came: one that is no point verifies nothing.
    const publicFields = (point) => ({ __proto__: null, bytes: point, point });

    // `given` is the public key that came with the private key, if one did.
    function privateFields(bytes, given) {
      const point = publicOf(bytes);
      if (given !== undefined && !same(point, given)) throw wrongData("the public key is not that of the private key");
      return { __proto__: null, bytes, point };
    }

    function unpacked(isPrivate, data) {
      const found = unpack(isPrivate, bytesOf(data));
      if (found === undefined || found.kind !== name) throw wrongData("the key is not one of " + name);
      return found;
    }

    function fieldsOf(format, data) {
      if (format === "raw") return publicFields(sized(copyOf(data)));
      if (format === "spki") return publicFields(sized(unpacked(false, data).key));
      if (format === "pkcs8") {
        const { key, public: given } = unpacked(true, data);
        return privateFields(sized(key), given);
      }
      if (data.crv !== name) throw wrongData("crv is not " + name);
      const point = sized(bytesOfMember(data, "x"));
      return data.d === undefined ? publicFields(point) : privateFields(sized(bytesOfMember(data, "d")), point);
    }

    return {
      __proto__: null,
      name,
      importKey: none,
      generateKey: none,
      usages: own.all,
      usagesFor: (format, data) => isPrivate(format, data) ? own.private : own.public,

      import(format, data, params, extractable, usages) {
        if (format === "jwk") {
          checkJwk(data, "OKP", use, extractable, usages);
          const { alg } = data;
          if (use === "sig" && alg !== undefined && !contains(SIGNATURE_NAMES, alg)) throw wrongData("alg is not " + name);
        }
        const type = isPrivate(format, data) ? "private" : "public";
        return newKey(type, { name }, extractable, usages, fieldsOf(format, data));
      },

      generate(params, extractable, usages) {
        const fields = privateFields(randomBytes(KEY_BYTES * 8), undefined);
        return newPair(() => ({ name }), extractable, usages, own, publicFields(fields.point), fields);
      },

      export(format, state) {
        if (format === "jwk") {
          const jwk = { __proto__: null, kty: "OKP", crv: name, x: textOf(state.point) };
          if (use === "sig") jwk.alg = name;
          if (state.type === "private") jwk.d = textOf(state.bytes);
          return toJwk(state, jwk);
        }
        ofType(state, format === "pkcs8" ? "private" : "public");
        if (format === "raw") return bufferOf(copyOf(state.point));
        return format === "spki" ? packPublic(name, state.point) : packPrivate(name, state.bytes, new Uint8Array());
      },
    };
  }

  const ed = octets("Ed25519", {
    __proto__: null, all: ["sign", "verify"], public: ["verify"], private: ["sign"],
  }, "sig", edPublic);
  ed.sign = ed.verify = none;

  ed.signWith = (state, params, data) => {
    ofType(state, "private");
    return edSign(state.bytes, data);
  };

  ed.verifyWith = (state, params, signature, data) => {
    ofType(state, "public");
    return edVerify(state.point, signature, data);
  };

  const x = octets("X25519", {
    __proto__: null, all: MATERIAL_USAGES, public: [], private: MATERIAL_USAGES,
  }, "enc", xPublic);

  x.deriveBits = (given) => {
    const other = member(given, "public");
    if (!isKey(other)) throw new TypeError("public must be a CryptoKey");
    return stateOf(other);
  };

  x.derive = (state, other, length) => {
    ofType(state, "private");
    ofType(other, "public");
    if (other.name !== "X25519") throw fault("InvalidAccessError", "the public key is of another algorithm");
    const secret = x25519(state.bytes, other.point);
    if (secret === undefined) throw failed("the keys share no secret: the public key has a small order");
    return firstBits(secret, length);
  };

  return { __proto__: null, "ed25519": ed, "x25519": x };
})
