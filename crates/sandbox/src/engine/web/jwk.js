// The format `jwk` of keys for `crypto.subtle`: RFC 7517 and RFC 7518, as https://w3c.github.io/webcrypto/ takes them.
(function (primordials, natives, part) {
  "use strict";

  const {
    apply, arrayPrototype, fromBase64, isArray, jsonParse, jsonStringify, setPrototypeOf, toBase64, TypeError,
  } = primordials;
  const { list, toText } = part("shared");
  const { contains, isObject, texts, wrongData } = part("keys");

  // In the order of WebIDL.
  const MEMBERS = [
    "alg", "crv", "d", "dp", "dq", "e", "ext", "k", "key_ops", "kty", "n", "oth", "p", "q", "qi", "use", "x", "y",
  ];
  const NO_OPERATIONS = "key_ops must be a sequence";
  const base64url = { __proto__: null, alphabet: "base64url", omitPadding: true };

  // Converts an object of a script.
  function jwkOf(value) {
    if (!isObject(value)) throw new TypeError("a JWK must be an object");
    const jwk = { __proto__: null };
    for (let index = 0; index < MEMBERS.length; index++) {
      const name = MEMBERS[index];
      const present = value[name];
      if (present === undefined) continue;
      if (name === "ext") jwk.ext = !!present;
      else if (name === "key_ops") jwk.key_ops = texts(present, NO_OPERATIONS);
      else if (name === "oth") jwk.oth = isObject(present);
      else jwk[name] = toText(present);
    }
    return jwk;
  }

  // Reads a JWK of its text. What a script did to the prototypes of objects and arrays does not matter.
  function jwkOfText(text) {
    let value;
    try {
      value = jsonParse(text);
    } catch {
      throw wrongData("the unwrapped key is no JSON");
    }
    if (!isObject(value) || isArray(value)) throw wrongData("the unwrapped key is no JWK");
    setPrototypeOf(value, null);
    const operations = value.key_ops;
    if (operations !== undefined) {
      if (!isArray(operations)) throw wrongData(NO_OPERATIONS);
      delete value.key_ops;
    }
    const jwk = jwkOf(value);
    if (jwk.kty === undefined) throw wrongData("the unwrapped key has no kty");
    if (operations !== undefined) {
      setPrototypeOf(operations, null);
      jwk.key_ops = list();
      for (let index = 0; index < operations.length; index++) jwk.key_ops[index] = toText(operations[index]);
    }
    return jwk;
  }

  // Throws unless the JWK has this type and may become the key that the script asks for.
  function checkJwk(jwk, kty, use, extractable, usages) {
    if (jwk.kty !== kty) throw wrongData("the JWK is not of the type " + kty);
    if (usages.length > 0 && jwk.use !== undefined && jwk.use !== use) throw wrongData("use is not " + use);
    if (jwk.key_ops !== undefined) checkOperations(jwk.key_ops, usages);
    if (jwk.ext === false && extractable) throw wrongData("the JWK is not extractable");
  }

  function checkOperations(operations, usages) {
    const known = list();
    for (let index = 0; index < operations.length; index++) {
      if (contains(known, operations[index])) throw wrongData("key_ops has '" + operations[index] + "' twice");
      known[known.length] = operations[index];
    }
    for (let index = 0; index < usages.length; index++) {
      if (!contains(operations, usages[index])) throw wrongData("key_ops does not have " + usages[index]);
    }
  }

  function checkName(jwk, name, what) {
    if (jwk[name] !== undefined && jwk[name] !== what) throw wrongData(name + " is not " + what);
  }

  // Returns the bytes of a member in base64url, without padding and with nothing else.
  function bytesOfMember(jwk, name) {
    const text = jwk[name];
    if (text === undefined) throw wrongData("the JWK has no " + name);
    let bytes;
    try {
      bytes = fromBase64(text, base64url);
    } catch {
      throw wrongData(name + " is not base64url");
    }
    if (textOf(bytes) !== text) throw wrongData(name + " is not base64url");
    return bytes;
  }

  const textOf = (bytes) => apply(toBase64, bytes, [base64url]);

  // Adds what the JWKs of all keys have. The object has no prototype yet: `shown` and `serialized` make of it what scripts
  // see.
  function toJwk(state, jwk) {
    jwk.key_ops = list();
    for (let index = 0; index < state.usages.length; index++) jwk.key_ops[index] = state.usages[index];
    jwk.ext = state.extractable;
    return jwk;
  }

  function shown(jwk) {
    setPrototypeOf(jwk.key_ops, arrayPrototype);
    return { ...jwk };
  }

  const serialized = (jwk) => jsonStringify(jwk);

  return {
    __proto__: null, bytesOfMember, checkJwk, checkName, jwkOf, jwkOfText, serialized, shown, textOf, toJwk,
  };
})
