// What the host needs of JavaScript's own library, taken before any guest code can change it.
//
// Evaluated once, in the zygote. Every helper here is closed over primordials, creates nothing that inherits from a
// prototype a guest can reach, calls no guest code, and has no power that a guest does not have: should a guest get hold
// of one (`Error.prepareStackTrace` hands out functions), it has gained nothing.
(function () {
  "use strict";

  const { call, bind, toString } = Function.prototype;
  const uncurry = bind.bind(call);
  const { create, getOwnPropertyDescriptor, getPrototypeOf, setPrototypeOf, defineProperty } = Object;
  const getter = (prototype, key) => uncurry(getOwnPropertyDescriptor(prototype, key).get);
  const { isArray } = Array;
  const { construct, ownKeys } = Reflect;
  const { parseFloat, parseInt } = globalThis;

  const hidden = (value) => ({ __proto__: null, value, writable: true, enumerable: false, configurable: true });
  const sourceOf = uncurry(toString);
  const descriptionOf = getter(Symbol.prototype, "description");
  const bigintText = uncurry(BigInt.prototype.toString);

  const RealDate = Date;
  // What scripts know as `Date`.
  let PublicDate = RealDate;
  const timeOf = uncurry(Date.prototype.getTime);
  const isoText = uncurry(Date.prototype.toISOString);
  const dateText = uncurry(Date.prototype.toString);

  const regexpSource = getter(RegExp.prototype, "source");
  const regexpFlags = [];
  const flagGetters = [
    ["d", "hasIndices"], ["g", "global"], ["i", "ignoreCase"], ["m", "multiline"],
    ["s", "dotAll"], ["u", "unicode"], ["v", "unicodeSets"], ["y", "sticky"],
  ];
  for (const [letter, key] of flagGetters) {
    if (getOwnPropertyDescriptor(RegExp.prototype, key)) {
      regexpFlags.push(setPrototypeOf({ letter, isSet: getter(RegExp.prototype, key) }, null));
    }
  }
  setPrototypeOf(regexpFlags, null);

  const mapEntries = uncurry(Map.prototype.entries);
  const mapNext = uncurry(getPrototypeOf(new Map().entries()).next);
  const setValues = uncurry(Set.prototype.values);
  const setNext = uncurry(getPrototypeOf(new Set().values()).next);

  const typedArrayPrototype = getPrototypeOf(Uint8Array.prototype);
  const typedArrayLength = getter(typedArrayPrototype, "length");
  const typedArrayTag = getter(typedArrayPrototype, Symbol.toStringTag);
  const bufferLength = getter(ArrayBuffer.prototype, "byteLength");
  const sharedBufferLength = getter(SharedArrayBuffer.prototype, "byteLength");
  const viewBuffer = getter(DataView.prototype, "buffer");
  const viewLength = getter(DataView.prototype, "byteLength");
  const viewOffset = getter(DataView.prototype, "byteOffset");
  const Bytes = Uint8Array;

  const numberOf = uncurry(Number.prototype.valueOf);
  const stringOf = uncurry(String.prototype.valueOf);
  const booleanOf = uncurry(Boolean.prototype.valueOf);
  const symbolOf = uncurry(Symbol.prototype.valueOf);
  const bigintOf = uncurry(BigInt.prototype.valueOf);

  const domExceptionName = getter(DOMException.prototype, "name");

  const weakMapHas = uncurry(WeakMap.prototype.has);
  const weakSetHas = uncurry(WeakSet.prototype.has);
  const weakRefDeref = uncurry(WeakRef.prototype.deref);

  function regexpText(regexp) {
    let text = "/" + regexpSource(regexp) + "/";
    for (let index = 0; index < regexpFlags.length; index++) {
      if (regexpFlags[index].isSet(regexp)) text += regexpFlags[index].letter;
    }
    return text;
  }

  function typedArray(array) {
    if (typedArrayTag(array) === undefined) throw null;
    return array;
  }

  // In the order of `BRANDS` in realm.rs. Each throws for an object that only has the prototype, not the thing.
  const brands = [
    [Date.prototype, (date) => { const time = timeOf(date); return time === time ? isoText(date) : "Invalid Date"; }],
    [Map.prototype, mapEntries],
    [Set.prototype, setValues],
    [RegExp.prototype, regexpText],
    [typedArrayPrototype, typedArray],
    // A detached buffer has a length of 0 and takes no view; a view of one has lost its bytes.
    [ArrayBuffer.prototype, (buffer) => bufferLength(buffer) === 0 ? new Bytes() : new Bytes(buffer)],
    [SharedArrayBuffer.prototype, (buffer) => { sharedBufferLength(buffer); return new Bytes(buffer); }],
    [DataView.prototype, (view) => bufferLength(viewBuffer(view)) === 0 ? new Bytes() :
      new Bytes(viewBuffer(view), viewOffset(view), viewLength(view))],
    [Number.prototype, numberOf],
    [String.prototype, stringOf],
    [Boolean.prototype, booleanOf],
    [Symbol.prototype, symbolOf],
    [BigInt.prototype, bigintOf],
    [WeakMap.prototype, (map) => { weakMapHas(map, map); return "[WeakMap]"; }],
    [WeakSet.prototype, (set) => { weakSetHas(set, set); return "[WeakSet]"; }],
    [WeakRef.prototype, (ref) => { weakRefDeref(ref); return "[WeakRef]"; }],
    [DOMException.prototype, domExceptionName],
  ];
  const openers = setPrototypeOf(brands.map(([, open]) => open), null);
  const prototypes = brands.map(([prototype]) => prototype);

  // Up to 64 steps of an iterator of ours; shorter when it ended. No prototype, so that no setter sees the values.
  function chunk(iterator, next, pairs) {
    const out = setPrototypeOf([], null);
    let length = 0;
    for (let step = 0; step < 64; step++) {
      const item = next(iterator);
      if (item.done) break;
      if (pairs) {
        out[length++] = item.value[0];
        out[length++] = item.value[1];
      } else {
        out[length++] = item.value;
      }
    }
    return out;
  }

  return {
    __proto__: null,
    prototypes,
    objectPrototype: Object.prototype,
    errorPrototype: Error.prototype,
    dateToJSON: Date.prototype.toJSON,

    // What stands inside an object of the given brand, or undefined when it only looks like one.
    open(brand, object) {
      try {
        return openers[brand](object);
      } catch {
        return undefined;
      }
    },
    mapChunk: (iterator) => chunk(iterator, mapNext, true),
    setChunk: (iterator) => chunk(iterator, setNext, false),
    typedArrayLength: (array) => typedArrayLength(array),
    stringLength: (string) => string.length,
    isArray: (object) => isArray(object),
    bigintText: (bigint) => bigintText(bigint),

    symbolText(symbol) {
      const description = descriptionOf(symbol);
      return "Symbol(" + (description === undefined ? "" : description) + ")";
    },

    // The number at the begin of a text, as a text.
    numberText: (text, isWhole) => `${isWhole ? parseInt(text, 10) : parseFloat(text)}`,

    functionText(value) {
      const source = sourceOf(value);
      const after = source[5];
      const isClass = source[0] === "c" && source[1] === "l" && source[2] === "a" && source[3] === "s" &&
        source[4] === "s" && (after === " " || after === "{" || after === "\n" || after === "\t" ||
        after === "\r" || after === "/");
      const descriptor = getOwnPropertyDescriptor(value, "name");
      let name = "";
      if (descriptor) {
        setPrototypeOf(descriptor, null);
        if (typeof descriptor.value === "string") name = descriptor.value;
      }
      if (isClass) return name === "" ? "[class (anonymous)]" : "[class " + name + "]";
      return name === "" ? "[Function (anonymous)]" : "[Function: " + name + "]";
    },

    construct,

    // Puts `replacement` in the place of `Date`, with everything that `Date` has.
    replaceDate(replacement) {
      for (const key of ownKeys(RealDate)) {
        if (key !== "name" && key !== "length") {
          defineProperty(replacement, key, setPrototypeOf(getOwnPropertyDescriptor(RealDate, key), null));
        }
      }
      PublicDate = replacement;
      defineProperty(RealDate.prototype, "constructor", hidden(replacement));
      defineProperty(globalThis, "Date", hidden(replacement));
    },

    // Makes `Date` tell the time of `now`. A proxy keeps everything else of it as it is. Its trap `construct` is not of
    // this file, because guest code may run inside it (`valueOf` of an argument) and would see the frame in its stack.
    installVirtualDate(now, construct) {
      const handler = {
        __proto__: null,
        apply: () => dateText(new RealDate(now())),
        construct,
      };
      const VirtualDate = new Proxy(PublicDate, handler);
      defineProperty(PublicDate, "now", hidden(now));
      defineProperty(RealDate.prototype, "constructor", hidden(VirtualDate));
      defineProperty(globalThis, "Date", hidden(VirtualDate));
    },
  };
})
