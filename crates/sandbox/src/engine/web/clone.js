// `structuredClone`, as https://html.spec.whatwg.org/#structured-cloning has it: first the value becomes a list of
// records, then the buffers to transfer are taken away, then the records become values. Only the first step runs guest
// code (getters, and the iterator of `transfer`). Neither step recurses: a value may be as deep as memory allows.
(function (primordials, natives, part) {
  "use strict";

  const {
    apply, getOwnPropertyDescriptor, getPrototypeOf, iterator, TypeError, DOMException,
    ArrayBuffer, Uint8Array, DataView, Date, RegExp, Map, Set, Object, Error, errors, typedArrays, hasOwn, objectKeys,
    objectPrototype, isView, typedArrayTag, typedArrayBuffer, typedArrayOffset, typedArrayBytes, typedArrayKeys,
    typedArraySet, viewBuffer, viewOffset, viewBytes, bufferBytes, bufferBytesMax, bufferIsResizable, bufferIsDetached,
    bufferResize, bufferTransfer, dateTime, regexpSource, regexpFlags, mapGet, mapSet, mapForEach, setAdd,
    setForEach, numberOf, stringOf, booleanOf, bigintOf, exceptionName, exceptionMessage,
  } = primordials;
  const { classOf } = natives;
  const { define, dictionary, iterate, list, platformObjects, required, toText } = part("shared");

  // The engine's classes, from samples: it has no names for them.
  const OBJECT = classOf({});
  const ARGUMENTS = classOf(arguments);
  const MAPPED_ARGUMENTS = classOf(primordials.mappedArguments);
  const ARRAY = classOf([]);
  const ERROR = classOf(new Error());
  const DATE = classOf(new Date(0));
  const REGEXP = classOf(primordials.regexp);
  const MAP = classOf(new Map());
  const SET = classOf(new Set());
  const BUFFER = classOf(new ArrayBuffer());
  const SHARED_BUFFER = classOf(primordials.sharedBuffer);
  const NUMBER = classOf(Object(0));
  const STRING = classOf(Object(""));
  const BOOLEAN = classOf(Object(false));
  const BIGINT = classOf(Object(0n));
  const EXCEPTION = classOf(new DOMException());

  const VIEW = "view";
  const PLATFORM = "platform";

  const CLONE_ERROR = "DataCloneError";
  const NOT_A_LIST = "transfer must be a sequence of objects";
  const failure = (what) => new DOMException(what + " cannot be cloned", CLONE_ERROR);

  // The records in the order in which their objects were found, and the record of each object.
  class Serializer {
    records = list();
    known = new Map();
    // The objects whose members are being read, outermost first.
    open = list();

    // Returns a primitive as it is, and the record of an object.
    value(value) {
      if (typeof value === "symbol") throw failure("a symbol");
      if (typeof value === "function") throw failure("a function");
      if (typeof value !== "object" || value === null) return value;
      const known = apply(mapGet, this.known, [value]);
      if (known !== undefined) return known;
      return this.object(value);
    }

    add(value, record) {
      this.records[this.records.length] = record;
      apply(mapSet, this.known, [value, record]);
      return record;
    }

    // Puts off reading the members of an object until those of the objects inside it were read.
    addOpen(value, record, items) {
      record.items = list();
      record.source = value;
      record.pending = items;
      record.next = 0;
      this.open[this.open.length] = record;
      return this.add(value, record);
    }

    object(value) {
      switch (classOf(value)) {
        case ARRAY:
          return this.addOpen(value, { __proto__: null, kind: ARRAY, length: value.length }, objectKeys(value));
        case OBJECT:
        case ARGUMENTS:
        case MAPPED_ARGUMENTS:
          return this.ordinary(value);
        case MAP: {
          const items = list();
          apply(mapForEach, value, [(of, key) => {
            items[items.length] = key;
            items[items.length] = of;
          }]);
          return this.addOpen(value, { __proto__: null, kind: MAP }, items);
        }
        case SET: {
          const items = list();
          apply(setForEach, value, [(item) => {
            items[items.length] = item;
          }]);
          return this.addOpen(value, { __proto__: null, kind: SET }, items);
        }
        case ERROR:
          return this.error(value);
        case DATE:
          return this.add(value, { __proto__: null, kind: DATE, value: apply(dateTime, value, []) });
        case REGEXP:
          return this.add(value, {
            __proto__: null, kind: REGEXP, source: apply(regexpSource, value, []), flags: regexpFlags(value),
          });
        case NUMBER:
          return this.add(value, { __proto__: null, kind: NUMBER, value: apply(numberOf, value, []) });
        case STRING:
          return this.add(value, { __proto__: null, kind: STRING, value: apply(stringOf, value, []) });
        case BOOLEAN:
          return this.add(value, { __proto__: null, kind: BOOLEAN, value: apply(booleanOf, value, []) });
        case BIGINT:
          return this.add(value, { __proto__: null, kind: BIGINT, value: apply(bigintOf, value, []) });
        case BUFFER:
          return this.buffer(value);
        case SHARED_BUFFER:
          throw failure("a SharedArrayBuffer");
        case EXCEPTION:
          return this.add(value, {
            __proto__: null, kind: EXCEPTION, name: apply(exceptionName, value, []),
            message: apply(exceptionMessage, value, []), stack: stackOf(value),
          });
        default:
          if (isView(value)) return this.view(value);
          throw failure("an object of this class");
      }
    }

    ordinary(value) {
      const prototype = getPrototypeOf(value);
      if (prototype !== objectPrototype && prototype !== null) {
        for (let index = 0; index < platformObjects.length; index++) {
          const { is, name, serialize, deserialize } = platformObjects[index];
          if (!is(value)) continue;
          if (serialize === undefined) throw failure("an object of the class " + name);
          return this.add(value, { __proto__: null, kind: PLATFORM, deserialize, data: serialize(value) });
        }
      }
      return this.addOpen(value, { __proto__: null, kind: OBJECT }, objectKeys(value));
    }

    error(value) {
      const name = value.name;
      const isKnown = typeof name === "string" && errors[name] !== undefined;
      const record = { __proto__: null, kind: ERROR, name: isKnown ? name : "Error" };
      const message = ownValue(value, "message");
      record.hasMessage = message !== undefined;
      if (record.hasMessage) record.message = toText(message.value);
      record.stack = stackOf(value);
      const cause = ownValue(value, "cause");
      if (cause === undefined) return this.add(value, record);
      const items = list();
      items[0] = cause.value;
      return this.addOpen(value, record, items);
    }

    buffer(value) {
      if (apply(bufferIsDetached, value, [])) throw failure("a detached ArrayBuffer");
      const length = apply(bufferBytes, value, []);
      const most = apply(bufferIsResizable, value, []) ? apply(bufferBytesMax, value, []) : undefined;
      const copy = most === undefined ? new ArrayBuffer(length) :
        new ArrayBuffer(length, { __proto__: null, maxByteLength: most });
      apply(typedArraySet, new Uint8Array(copy), [new Uint8Array(value)]);
      return this.add(value, { __proto__: null, kind: BUFFER, made: copy });
    }

    view(value) {
      const view = viewOf(value);
      if (classOf(view.buffer) === SHARED_BUFFER) throw failure("a view of a SharedArrayBuffer");
      const isTransferred = apply(mapGet, this.known, [view.buffer]) !== undefined;
      if (apply(bufferIsDetached, view.buffer, []) && !isTransferred) throw failure("a view of a detached ArrayBuffer");
      if (view.isOutside) throw failure("a view that lies outside of its buffer");
      const follows = apply(bufferIsResizable, view.buffer, []) && followsItsBuffer(value, view);
      const buffer = this.value(view.buffer);
      return this.add(value, {
        __proto__: null, kind: VIEW, constructor: view.constructor, buffer, offset: view.offset,
        length: follows ? undefined : view.bytes / view.unit,
      });
    }

    // Reads the members of open objects, depth first, until none is open.
    drain() {
      while (this.open.length > 0) {
        const record = this.open[this.open.length - 1];
        if (record.next >= record.pending.length) {
          record.pending = record.source = undefined;
          this.open.length--;
          continue;
        }
        const item = record.pending[record.next++];
        if (record.kind !== OBJECT && record.kind !== ARRAY) {
          record.items[record.items.length] = this.value(item);
        } else if (apply(hasOwn, undefined, [record.source, item])) {
          record.items[record.items.length] = item;
          record.items[record.items.length] = this.value(record.source[item]);
        }
      }
    }
  }

  // Returns the descriptor of an own data property, without a prototype.
  function ownValue(object, key) {
    const descriptor = getOwnPropertyDescriptor(object, key);
    if (descriptor === undefined || !apply(hasOwn, undefined, [descriptor, "value"])) return undefined;
    return descriptor;
  }

  function stackOf(error) {
    const stack = error.stack;
    return typeof stack === "string" ? stack : undefined;
  }

  function viewOf(value) {
    const tag = apply(typedArrayTag, value, []);
    const isTyped = tag !== undefined;
    const view = {
      __proto__: null, isTyped, buffer: apply(isTyped ? typedArrayBuffer : viewBuffer, value, []),
      constructor: isTyped ? typedArrays[tag] : DataView, unit: isTyped ? typedArrays[tag].BYTES_PER_ELEMENT : 1,
      isOutside: false, offset: 0, bytes: 0,
    };
    try {
      // Throws outside of the buffer, as the getters of a DataView do.
      if (isTyped) apply(typedArrayKeys, value, []);
      view.offset = apply(isTyped ? typedArrayOffset : viewOffset, value, []);
      view.bytes = apply(isTyped ? typedArrayBytes : viewBytes, value, []);
    } catch {
      view.isOutside = true;
    }
    return view;
  }

  // Returns whether a view of a resizable buffer has no length of its own. Nothing tells but a change of the buffer,
  // which is undone.
  function followsItsBuffer(value, view) {
    const { buffer, offset, bytes, unit } = view;
    const size = apply(bufferBytes, buffer, []);
    if (offset + bytes + unit <= size) return false;
    if (size + unit <= apply(bufferBytesMax, buffer, [])) {
      apply(bufferResize, buffer, [size + unit]);
      const grown = viewOf(value);
      apply(bufferResize, buffer, [size]);
      return grown.bytes !== bytes;
    }
    if (size < unit) return false;
    const saved = new Uint8Array(unit);
    apply(typedArraySet, saved, [new Uint8Array(buffer, size - unit, unit)]);
    apply(bufferResize, buffer, [size - unit]);
    const shrunk = viewOf(value);
    apply(bufferResize, buffer, [size]);
    apply(typedArraySet, new Uint8Array(buffer, size - unit, unit), [saved]);
    return !shrunk.isOutside;
  }

  // Makes the object of a record, without what is inside it.
  function make(record) {
    switch (record.kind) {
      case OBJECT:
        return {};
      case ARRAY: {
        const array = [];
        array.length = record.length;
        return array;
      }
      case MAP:
        return new Map();
      case SET:
        return new Set();
      case DATE:
        return new Date(record.value);
      case REGEXP:
        return new RegExp(record.source, record.flags);
      case NUMBER:
      case STRING:
      case BOOLEAN:
      case BIGINT:
        return Object(record.value);
      case BUFFER:
        return record.made;
      case VIEW:
        return record.length === undefined ? new record.constructor(record.buffer.made, record.offset) :
          new record.constructor(record.buffer.made, record.offset, record.length);
      case EXCEPTION: {
        const exception = new DOMException(record.message, record.name);
        if (record.stack !== undefined) define(exception, "stack", record.stack, false, true);
        return exception;
      }
      case ERROR: {
        const error = new errors[record.name]();
        if (record.hasMessage) define(error, "message", record.message, false, true);
        if (record.stack !== undefined) define(error, "stack", record.stack, false, true);
        return error;
      }
      default:
        return record.deserialize(record.data);
    }
  }

  const made = (item) => typeof item === "object" && item !== null ? item.made : item;

  function fill(record) {
    const { items, kind, made: object } = record;
    if (items === undefined) return;
    if (kind === ERROR) {
      define(object, "cause", made(items[0]), false, true);
      return;
    }
    for (let index = 0; index < items.length; index += kind === SET ? 1 : 2) {
      if (kind === SET) apply(setAdd, object, [made(items[index])]);
      else if (kind === MAP) apply(mapSet, object, [made(items[index]), made(items[index + 1])]);
      else define(object, items[index], made(items[index + 1]), true, true);
    }
  }

  // Returns the objects of the member `transfer`.
  function transferred(options) {
    const given = options === null ? undefined : options.transfer;
    return given === undefined ? list() : sequenceOf(given);
  }

  function sequenceOf(given) {
    const objects = list();
    if ((typeof given !== "object" && typeof given !== "function") || given === null) throw new TypeError(NOT_A_LIST);
    for (const object of iterate(given, given[iterator], NOT_A_LIST)) {
      if ((typeof object !== "object" && typeof object !== "function") || object === null) throw new TypeError(NOT_A_LIST);
      objects[objects.length] = object;
    }
    return objects;
  }

  // Serializes a value, and takes `objects` away from whoever has them. The result can be read once.
  function serialize(value, objects) {
    const serializer = new Serializer();
    for (let index = 0; index < objects.length; index++) {
      const object = objects[index];
      const description = classOf(object) === BUFFER ? undefined : transferable(object);
      if (apply(mapGet, serializer.known, [object]) !== undefined) {
        throw new DOMException("an object is transferred twice", CLONE_ERROR);
      }
      serializer.add(object, { __proto__: null, kind: BUFFER, made: undefined, description });
    }
    const root = serializer.value(value);
    serializer.drain();
    const { records } = serializer;
    for (let index = 0; index < objects.length; index++) {
      const { description } = records[index];
      records[index].made = description === undefined ? takenBuffer(objects[index]) : description.transfer(objects[index]);
    }
    return { __proto__: null, records, root, transferred: objects.length };
  }

  function transferable(object) {
    for (let index = 0; index < platformObjects.length; index++) {
      const description = platformObjects[index];
      if (description.transfer === undefined || !description.is(object)) continue;
      if (description.isDetached(object)) throw new DOMException("an object was transferred before", CLONE_ERROR);
      return description;
    }
    throw new DOMException("only an ArrayBuffer or a MessagePort can be transferred", CLONE_ERROR);
  }

  function takenBuffer(buffer) {
    if (apply(bufferIsDetached, buffer, [])) throw failure("a detached ArrayBuffer");
    try {
      return apply(bufferTransfer, buffer, []);
    } catch {
      throw failure("an immutable ArrayBuffer");
    }
  }

  // Makes the value of what `serialize` returned.
  function deserialize({ records, root }) {
    for (let index = 0; index < records.length; index++) records[index].made = make(records[index]);
    for (let index = 0; index < records.length; index++) fill(records[index]);
    return made(root);
  }

  function structuredClone(value, options = undefined) {
    required(arguments.length, 1, "structuredClone");
    const objects = transferred(dictionary(options, "the second argument of structuredClone"));
    return deserialize(serialize(value, objects));
  }

  const cloned = (value) => deserialize(serialize(value, list()));

  return { __proto__: null, structuredClone, cloned, deserialize, serialize, sequenceOf };
})
