// `crypto` without `subtle`, as https://w3c.github.io/webcrypto/#crypto-interface has it.
(function (primordials, natives, part) {
  "use strict";

  const { apply, DOMException, isView, typedArrayBuffer, typedArrayTag, TypeError } = primordials;
  const { fill, uuid } = natives;
  const { bytesOf, expose, isSharedBuffer, platformObject, required, sizeOf } = part("shared");

  const SECRET = {};
  const BYTES_MAX = 65536;
  const INTEGERS = {
    __proto__: null, Int8Array: 1, Uint8Array: 1, Uint8ClampedArray: 1, Int16Array: 1, Uint16Array: 1, Int32Array: 1,
    Uint32Array: 1, BigInt64Array: 1, BigUint64Array: 1,
  };
  let isCrypto;

  class Crypto {
    #brand;

    static {
      isCrypto = (object) => #brand in object;
    }

    constructor(secret = undefined) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
    }

    get subtle() {
      this.#brand;
      return part("subtle").subtle;
    }

    getRandomValues(array) {
      this.#brand;
      required(arguments.length, 1, "getRandomValues");
      if (!isView(array)) throw new TypeError("getRandomValues needs a typed array");
      const tag = apply(typedArrayTag, array, []);
      if (tag === undefined || INTEGERS[tag] === undefined) {
        throw new DOMException("getRandomValues needs a typed array of integers", "TypeMismatchError");
      }
      if (isSharedBuffer(apply(typedArrayBuffer, array, []))) {
        throw new TypeError("getRandomValues takes no shared memory");
      }
      const bytes = bytesOf(array);
      if (sizeOf(bytes) > BYTES_MAX) {
        throw new DOMException("getRandomValues gives at most " + BYTES_MAX + " bytes at a time", "QuotaExceededError");
      }
      fill(bytes);
      return array;
    }

    randomUUID() {
      this.#brand;
      return uuid();
    }
  }

  expose(Crypto, "Crypto");
  platformObject({ name: "Crypto", is: isCrypto });

  return { __proto__: null, crypto: new Crypto(SECRET), Crypto };
})
