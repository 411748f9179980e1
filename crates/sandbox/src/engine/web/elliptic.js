// ECDSA and ECDH for `crypto.subtle`. symmetric.js says what the members of an algorithm are.
(function (primordials, natives, part) {
  "use strict";

  const { TypeError, Uint8Array } = primordials;
  const { ecdh, ecdsaSign, ecdsaVerify, ecPoint, ecPublic, ecRandom, packPrivate, packPublic, unpack } = natives;
  const { bytesOf, sizeOf, toText } = part("shared");
  const {
    bufferOf, copyOf, failed, fault, firstBits, hashIn, isKey, member, newKey, newPair, ofType, same, slice, stateOf,
    unseeded, wrongData,
  } = part("keys");
  const { bytesOfMember, checkJwk, checkName, textOf, toJwk } = part("jwk");

  // In the order of `CURVES` in ec.rs; bytes of a scalar, and the name of signatures in a JWK.
  const curves = {
    __proto__: null,
    "P-256": { __proto__: null, index: 0, name: "P-256", size: 32, alg: "ES256" },
    "P-384": { __proto__: null, index: 1, name: "P-384", size: 48, alg: "ES384" },
    "P-521": { __proto__: null, index: 2, name: "P-521", size: 66, alg: "ES512" },
  };

  const NOT_OF_CURVE = "the key is not one of this curve";
  const anyName = () => undefined;

  function curveIn(given) {
    const name = toText(member(given, "namedCurve"));
    const curve = curves[name];
    if (curve === undefined) throw fault("NotSupportedError", "the curve '" + name + "' is not supported");
    return curve;
  }

  // Returns a part of a key that a native made, or says that there is none.
  function ofCurve(made) {
    if (made === undefined) throw wrongData(NOT_OF_CURVE);
    return made;
  }

  const isPrivate = (format, data) => format === "pkcs8" || (format === "jwk" && data.d !== undefined);

  // Returns the members of a public key's state.
  const publicFields = (curve, point) => ({ __proto__: null, curve, bytes: point, point });

  // Returns the members of a private key's state. `given` is the public key that came with it, if one did.
  function privateFields(curve, bytes, given) {
    const point = ofCurve(ecPublic(curve.index, bytes));
    if (given !== undefined && !same(point, given)) throw wrongData("the public key is not that of the private key");
    return { __proto__: null, curve, bytes, point };
  }

  function unpacked(isPrivate, curve, data) {
    const found = unpack(isPrivate, bytesOf(data));
    if (found === undefined || found.kind !== curve.name) throw wrongData(NOT_OF_CURVE);
    return found;
  }

  // Reads the members of a key's state from a format.
  function fieldsOf(format, data, curve) {
    const pointOf = (bytes) => ofCurve(ecPoint(curve.index, bytes));
    if (format === "raw") return publicFields(curve, pointOf(bytesOf(data)));
    if (format === "spki") return publicFields(curve, pointOf(unpacked(false, curve, data).key));
    if (format === "pkcs8") {
      const { key, public: given } = unpacked(true, curve, data);
      return privateFields(curve, key, given === undefined ? undefined : pointOf(given));
    }
    checkName(data, "crv", curve.name);
    const point = pointOf(joined(coordinate(data, "x", curve), coordinate(data, "y", curve)));
    return data.d === undefined ? publicFields(curve, point) : privateFields(curve, coordinate(data, "d", curve), point);
  }

  function coordinate(jwk, name, curve) {
    const bytes = bytesOfMember(jwk, name);
    if (sizeOf(bytes) !== curve.size) throw wrongData(name + " must have " + curve.size + " bytes");
    return bytes;
  }

  // Returns the point of two coordinates.
  function joined(x, y) {
    const point = new Uint8Array(1 + sizeOf(x) + sizeOf(y));
    point[0] = 4;
    for (let index = 0; index < sizeOf(x); index++) point[1 + index] = x[index];
    for (let index = 0; index < sizeOf(y); index++) point[1 + sizeOf(x) + index] = y[index];
    return point;
  }

  function exported(format, state) {
    const { curve, point } = state;
    if (format === "raw") {
      ofType(state, "public");
      return bufferOf(copyOf(point));
    }
    if (format === "spki") {
      ofType(state, "public");
      return packPublic(curve.name, point);
    }
    if (format === "pkcs8") {
      ofType(state, "private");
      return packPrivate(curve.name, state.bytes, point);
    }
    const { size } = curve;
    const jwk = {
      __proto__: null, kty: "EC", crv: curve.name, x: textOf(slice(point, 1, size)), y: textOf(slice(point, 1 + size, size)),
    };
    if (state.type === "private") jwk.d = textOf(state.bytes);
    return toJwk(state, jwk);
  }

  // Makes the entry of an algorithm. `own` has the usages of each key; `use` and `nameOf` are what a JWK may say.
  function elliptic(name, own, use, nameOf) {
    return {
      __proto__: null,
      name,
      importKey: curveIn,
      generateKey: curveIn,
      usagesFor: (format, data) => isPrivate(format, data) ? own.private : own.public,
      usages: own.all,

      import(format, data, curve, extractable, usages) {
        if (format === "jwk") {
          checkJwk(data, "EC", use, extractable, usages);
          if (data.crv === undefined) throw wrongData("the JWK has no crv");
          const alg = nameOf(curve);
          if (alg !== undefined) checkName(data, "alg", alg);
        }
        const fields = fieldsOf(format, data, curve);
        const type = isPrivate(format, data) ? "private" : "public";
        return newKey(type, { name, namedCurve: curve.name }, extractable, usages, fields);
      },

      generate(curve, extractable, usages) {
        unseeded();
        const fields = privateFields(curve, ecRandom(curve.index), undefined);
        const algorithmOf = () => ({ name, namedCurve: curve.name });
        return newPair(algorithmOf, extractable, usages, own, publicFields(curve, fields.point), fields);
      },

      export: exported,
    };
  }

  const ecdsaAlgorithm = elliptic("ECDSA", {
    __proto__: null, all: ["sign", "verify"], public: ["verify"], private: ["sign"],
  }, "sig", (curve) => curve.alg);
  ecdsaAlgorithm.sign = ecdsaAlgorithm.verify = hashIn;

  ecdsaAlgorithm.signWith = (state, hash, data) => {
    ofType(state, "private");
    const signature = ecdsaSign(state.curve.index, hash.index, state.bytes, data);
    if (signature === undefined) throw failed("the data cannot be signed with this key");
    return signature;
  };

  ecdsaAlgorithm.verifyWith = (state, hash, signature, data) => {
    ofType(state, "public");
    return ecdsaVerify(state.curve.index, hash.index, state.point, signature, data);
  };

  const MATERIAL_USAGES = ["deriveKey", "deriveBits"];
  const ecdhAlgorithm = elliptic("ECDH", {
    __proto__: null, all: MATERIAL_USAGES, public: [], private: MATERIAL_USAGES,
  }, "enc", anyName);

  ecdhAlgorithm.deriveBits = (given) => {
    const other = member(given, "public");
    if (!isKey(other)) throw new TypeError("public must be a CryptoKey");
    return stateOf(other);
  };

  ecdhAlgorithm.derive = (state, other, length) => {
    ofType(state, "private");
    ofType(other, "public");
    if (other.name !== "ECDH" || other.curve !== state.curve) {
      throw fault("InvalidAccessError", "the public key is of another algorithm or curve");
    }
    const secret = ecdh(state.curve.index, state.bytes, other.point);
    if (secret === undefined) throw failed("the keys share no secret");
    return firstBits(secret, length);
  };

  return { __proto__: null, "ecdsa": ecdsaAlgorithm, "ecdh": ecdhAlgorithm };
})
