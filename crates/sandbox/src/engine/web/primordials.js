// What the glue of the web APIs needs of JavaScript's own library, taken before any guest code can change it, and the
// lazy names of the global object.
//
// Evaluated once, in the zygote. Functions are taken as they are and called by `apply`: a bound function for each would
// be more of the warm heap that every execution is forked with. `take` returns the exports of a part; `globals` has
// the part of each name.
(function (take, globals) {
  "use strict";

  const {
    apply, construct, defineProperty, deleteProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys, setPrototypeOf,
  } = Reflect;
  const global = globalThis;
  const getter = (prototype, key) => getOwnPropertyDescriptor(prototype, key).get;
  const typedArray = getPrototypeOf(Uint8Array.prototype);

  // Returns the value for `name`. Puts it in the place of the accessor, unless guest code has put something else there.
  function settle(name, part, get) {
    const value = take(part)[name];
    const present = getOwnPropertyDescriptor(global, name);
    if (present !== undefined) {
      setPrototypeOf(present, null);
      if (present.get === get) define(global, name, value, false);
    }
    return value;
  }

  function define(object, name, value, enumerable) {
    return defineProperty(object, name, { __proto__: null, value, writable: true, enumerable, configurable: true });
  }

  // Defines what `accessor` has under `name` as an accessor of `object`.
  function defineAccessor(object, name, accessor, enumerable) {
    const { get, set } = getOwnPropertyDescriptor(accessor, name);
    defineProperty(object, name, { __proto__: null, get, set, enumerable, configurable: true });
    return get;
  }

  define(global, "self", global, false);
  for (const name of ownKeys(globals)) {
    const part = globals[name];
    const get = defineAccessor(global, name, {
      get [name]() {
        return settle(name, part, get);
      },
      // An assignment does what it does to a data property: an object that inherits from the global object gets a
      // property of its own.
      set [name](value) {
        const isGlobal = this === global || this === undefined;
        define(isGlobal ? global : this, name, value, !isGlobal);
      },
    }, false);
  }

  // The global object and `performance` are targets of events. They inherit from this object, which inherits from
  // `EventTarget.prototype` once that exists.
  const lazyTarget = {};
  for (const name of ["addEventListener", "dispatchEvent", "removeEventListener"]) {
    defineAccessor(lazyTarget, name, {
      get [name]() {
        return take(globals.EventTarget).methods[name];
      },
      set [name](value) {
        define(this === undefined ? global : this, name, value, true);
      },
    }, true);
  }
  const performancePrototype = getPrototypeOf(performance);
  setPrototypeOf(performancePrototype, lazyTarget);
  setPrototypeOf(global, lazyTarget);

  for (const type of ["error", "rejectionhandled", "unhandledrejection"]) {
    const name = "on" + type;
    defineAccessor(global, name, {
      get [name]() {
        return take(globals.reportError).handler(type);
      },
      set [name](value) {
        take(globals.reportError).setHandler(type, value);
      },
    }, true);
  }

  const { prototype: buffer } = ArrayBuffer;
  const errors = {
    __proto__: null, Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError,
  };
  const typedArrays = {
    __proto__: null, Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array,
    BigInt64Array, BigUint64Array, Float16Array, Float32Array, Float64Array,
  };

  const flagGetters = [
    ["d", "hasIndices"], ["g", "global"], ["i", "ignoreCase"], ["m", "multiline"],
    ["s", "dotAll"], ["u", "unicode"], ["v", "unicodeSets"], ["y", "sticky"],
  ].map(([letter, key]) => ({ __proto__: null, letter, isSet: getter(RegExp.prototype, key) }));
  setPrototypeOf(flagGetters, null);

  return {
    __proto__: null,
    apply, construct, defineProperty, deleteProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys, setPrototypeOf,
    global, lazyTarget,
    Array, ArrayBuffer, DataView, Date, DOMException, Error, errors, Map, Object, Promise, RangeError, RegExp, Set, TypeError,
    typedArrays, Uint8Array,
    objectPrototype: Object.prototype,
    hasOwn: Object.hasOwn,
    objectKeys: Object.keys,
    isArray: Array.isArray,
    iterator: Symbol.iterator,
    asyncIterator: Symbol.asyncIterator,
    asyncIteratorPrototype: getPrototypeOf(getPrototypeOf(async function* () {}.prototype)),
    promiseThen: Promise.prototype.then,
    toStringTag: Symbol.toStringTag,
    iteratorPrototype: getPrototypeOf(getPrototypeOf([][Symbol.iterator]())),
    arrayPrototype: Array.prototype,
    toLowerCase: String.prototype.toLowerCase,
    stringConcat: String.prototype.concat,
    stringSlice: String.prototype.slice,
    toWellFormed: String.prototype.toWellFormed,
    isView: ArrayBuffer.isView,
    typedArrayTag: getter(typedArray, Symbol.toStringTag),
    typedArrayBuffer: getter(typedArray, "buffer"),
    typedArrayOffset: getter(typedArray, "byteOffset"),
    typedArrayBytes: getter(typedArray, "byteLength"),
    typedArrayKeys: typedArray.keys,
    typedArraySet: typedArray.set,
    viewBuffer: getter(DataView.prototype, "buffer"),
    viewOffset: getter(DataView.prototype, "byteOffset"),
    viewBytes: getter(DataView.prototype, "byteLength"),
    bufferBytes: getter(buffer, "byteLength"),
    bufferBytesMax: getter(buffer, "maxByteLength"),
    bufferIsDetached: getter(buffer, "detached"),
    bufferIsResizable: getter(buffer, "resizable"),
    bufferResize: buffer.resize,
    bufferTransfer: buffer.transfer,
    sharedBufferBytes: getter(SharedArrayBuffer.prototype, "byteLength"),
    dateTime: Date.prototype.getTime,
    regexpExec: RegExp.prototype.exec,
    regexpSource: getter(RegExp.prototype, "source"),
    regexpFlags(regexp) {
      let flags = "";
      for (let index = 0; index < flagGetters.length; index++) {
        if (apply(flagGetters[index].isSet, regexp, [])) flags += flagGetters[index].letter;
      }
      return flags;
    },
    mapGet: Map.prototype.get,
    mapSet: Map.prototype.set,
    mapForEach: Map.prototype.forEach,
    setAdd: Set.prototype.add,
    setForEach: Set.prototype.forEach,
    numberOf: Number.prototype.valueOf,
    stringOf: String.prototype.valueOf,
    booleanOf: Boolean.prototype.valueOf,
    bigintOf: BigInt.prototype.valueOf,
    exceptionName: getter(DOMException.prototype, "name"),
    exceptionMessage: getter(DOMException.prototype, "message"),
    jsonParse: JSON.parse,
    jsonStringify: JSON.stringify,
    performance,
    performanceNow: performance.now,
    performancePrototype,
    Performance: performancePrototype.constructor,
    toBase64: Uint8Array.prototype.toBase64,
    fromBase64: Uint8Array.fromBase64,
    // Samples of classes whose objects the glue cannot make itself.
    mappedArguments: new Function("return arguments")(),
    regexp: new RegExp(""),
    sharedBuffer: new SharedArrayBuffer(1),
  };
})
