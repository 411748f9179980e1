// What the glue of several web APIs shares: WebIDL's conversions and the shape of its interfaces.
(function (primordials) {
  "use strict";

  const {
    apply, defineProperty, ownKeys, setPrototypeOf, getOwnPropertyDescriptor, iterator, iteratorPrototype, toStringTag,
    stringConcat, toWellFormed, TypeError, Uint8Array, arrayPrototype, isView, typedArrayTag, typedArrayBuffer, typedArrayOffset, typedArrayBytes,
    viewBuffer, viewOffset, viewBytes, bufferBytes, bufferIsDetached, sharedBufferBytes,
  } = primordials;

  const SAFE_MAX = 9007199254740991;
  const enumerable = { __proto__: null, enumerable: true };

  // Gives a class the attributes of an interface: its members are enumerable, and it has a tag.
  function expose(Interface, tag) {
    exposeMembers(Interface.prototype, (key) => key !== "constructor");
    exposeMembers(Interface, (key) => key !== "length" && key !== "name" && key !== "prototype");
    define(Interface.prototype, toStringTag, tag, false, false);
  }

  function exposeMembers(object, isMember) {
    const keys = ownKeys(object);
    for (let index = 0; index < keys.length; index++) {
      if (typeof keys[index] === "string" && isMember(keys[index])) defineProperty(object, keys[index], enumerable);
    }
  }

  function define(object, key, value, isEnumerable, writable) {
    defineProperty(object, key, { __proto__: null, value, writable, enumerable: isEnumerable, configurable: true });
  }

  // A constant is read-only and not configurable.
  function constant(object, key, value) {
    defineProperty(object, key, { __proto__: null, value, writable: false, enumerable: true, configurable: false });
  }

  function required(present, needed, what) {
    if (present < needed) {
      throw new TypeError(what + " needs " + needed + " argument" + (needed === 1 ? "" : "s") + ", and has " + present);
    }
  }

  // Returns a number as a whole one between 0 and `most`.
  function enforced(value, most, what) {
    const number = +value;
    const whole = number - number % 1;
    if (!(whole >= 0 && whole <= most)) throw new TypeError(what + " is not a number from 0 to " + most);
    return whole + 0;
  }

  // Returns a number as a whole one, held to the safe integers.
  function clamped(value) {
    const number = +value;
    if (number !== number) return 0;
    if (number > SAFE_MAX) return SAFE_MAX;
    if (number < -SAFE_MAX) return -SAFE_MAX;
    const whole = number - number % 1;
    const rest = number - whole;
    // Rounded to the nearest, and to the even one of two.
    if (rest > 0.5 || (rest === 0.5 && whole % 2 !== 0)) return whole + 1;
    if (rest < -0.5 || (rest === -0.5 && whole % 2 !== 0)) return whole - 1;
    return whole + 0;
  }

  // Converts to a string as WebIDL does. A template literal would do so too, but the engine calls
  // `String.prototype.concat` for it, which guest code may have replaced. So the glue has no template literals.
  const toText = (value) => typeof value === "string" ? value : apply(stringConcat, "", [value]);

  // Returns a string in which U+FFFD stands for each lone surrogate.
  const scalars = (value) => apply(toWellFormed, toText(value), []);

  // Returns the object of a dictionary argument, or null if there is none.
  function dictionary(value, what) {
    if (value === undefined || value === null) return null;
    if (typeof value !== "object" && typeof value !== "function") throw new TypeError(what + " must be an object");
    return value;
  }

  // Returns an array whose elements no setter of guest code can intercept.
  function list() {
    const array = [];
    setPrototypeOf(array, null);
    return array;
  }

  // Turns such a list into an array of a script.
  const arrayOf = (list) => {
    setPrototypeOf(list, arrayPrototype);
    return list;
  };

  function callback(value, what) {
    if (typeof value !== "function") throw new TypeError(what + " needs a function");
  }

  // Returns what `for … of` takes: the values of `iterated` by its method for iteration.
  function iterate(iterated, method, message) {
    if (typeof method !== "function") throw new TypeError(message);
    return { __proto__: null, [iterator]: () => apply(method, iterated, []) };
  }

  // Makes the class of a default iterator. `step(target, index, kind)` returns the next value, or undefined at the end.
  function iteratorClass(tag, step) {
    class Iterator {
      #target;
      #kind;
      #index = 0;

      constructor(target, kind) {
        this.#target = target;
        this.#kind = kind;
      }

      next() {
        const value = step(this.#target, this.#index, this.#kind);
        if (value === undefined) return { value: undefined, done: true };
        this.#index++;
        return { value, done: false };
      }
    }
    setPrototypeOf(Iterator.prototype, iteratorPrototype);
    delete Iterator.prototype.constructor;
    expose(Iterator, tag);
    return Iterator;
  }

  // Makes `Symbol.iterator` of an interface the same function as its method `name`.
  function iterable(Interface, name) {
    define(Interface.prototype, iterator, getOwnPropertyDescriptor(Interface.prototype, name).value, false, true);
  }

  // The length of a view of bytes. Its own `length` is an accessor that guest code may have replaced.
  const sizeOf = (bytes) => apply(typedArrayBytes, bytes, []);

  function isBuffer(value) {
    try {
      apply(bufferBytes, value, []);
      return true;
    } catch {
      return false;
    }
  }

  function isSharedBuffer(value) {
    try {
      apply(sharedBufferBytes, value, []);
      return true;
    } catch {
      return false;
    }
  }

  // Returns a view of all bytes of a buffer or a view; null if `source` is neither. The view of a detached buffer, or of
  // one that has become too short, is empty.
  function bytesOf(source) {
    if (isView(source)) {
      const isTyped = apply(typedArrayTag, source, []) !== undefined;
      const buffer = apply(isTyped ? typedArrayBuffer : viewBuffer, source, []);
      if (!isSharedBuffer(buffer) && apply(bufferIsDetached, buffer, [])) return new Uint8Array();
      if (isTyped) {
        return new Uint8Array(buffer, apply(typedArrayOffset, source, []), apply(typedArrayBytes, source, []));
      }
      try {
        return new Uint8Array(buffer, apply(viewOffset, source, []), apply(viewBytes, source, []));
      } catch {
        return new Uint8Array();
      }
    }
    if (isBuffer(source)) return apply(bufferIsDetached, source, []) ? new Uint8Array() : new Uint8Array(source);
    return isSharedBuffer(source) ? new Uint8Array(source) : null;
  }

  // What `structuredClone` must know of the objects of other interfaces: `is` tells them, and those that can be cloned
  // have `serialize` and `deserialize`.
  const platformObjects = list();
  function platformObject(description) {
    setPrototypeOf(description, null);
    platformObjects[platformObjects.length] = description;
  }

  return {
    __proto__: null,
    platformObjects, platformObject, expose, define, constant, required, enforced, clamped, toText, scalars, dictionary, callback, list, arrayOf, iterate, iteratorClass, iterable, isBuffer,
    isSharedBuffer, sizeOf, bytesOf,
  };
})
