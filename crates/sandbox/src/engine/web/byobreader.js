// `ReadableStreamBYOBReader`, as https://streams.spec.whatwg.org/#byob-reader-class has it.
(function (primordials, natives, part) {
  "use strict";

  const { RangeError, TypeError } = primordials;
  const { dictionary, enforced, expose, platformObject, required } = part("shared");
  const { deferred, handled, rejectedWith } = part("queues");
  const readable = part("readable");
  const { isDetached, partsOf, pullInto, sizeOfBuffer } = part("bytestreams");

  const SIZE_MAX = 9007199254740991;
  let isReader, readerStateOf;
  const notOf = (what) => rejectedWith(new TypeError("this is no " + what));

  class ReadableStreamBYOBReader {
    #state;

    static {
      readerStateOf = (reader) => reader.#state;
      isReader = (object) => typeof object === "object" && object !== null && #state in object;
    }

    constructor(stream) {
      if (!readable.isStream(stream)) throw new TypeError("ReadableStreamBYOBReader needs a ReadableStream");
      const of = readable.stateOf(stream);
      if (of.reader !== undefined) throw new TypeError("the stream is locked");
      if (!of.controller.isOfBytes) throw new TypeError("the stream is none of bytes");
      this.#state = readable.newReader(this, of, true);
    }

    get closed() {
      return isReader(this) ? this.#state.closed.promise : handled(notOf("ReadableStreamBYOBReader"));
    }

    cancel(reason = undefined) {
      if (!isReader(this)) return notOf("ReadableStreamBYOBReader");
      if (this.#state.stream === undefined) return rejectedWith(new TypeError("the reader is released"));
      return readable.cancel(this.#state.stream, reason);
    }

    read(view, options = undefined) {
      if (!isReader(this)) return notOf("ReadableStreamBYOBReader");
      try {
        required(arguments.length, 1, "read");
        return readInto(this.#state, view, options);
      } catch (error) {
        return rejectedWith(error);
      }
    }

    releaseLock() {
      if (this.#state.stream !== undefined) readable.releaseReader(this.#state);
    }
  }

  function readInto(reader, view, options) {
    const parts = partsOf(view);
    const given = dictionary(options, "the options of read");
    const least = given === null ? undefined : given.min;
    const min = least === undefined ? 1 : enforced(least, SIZE_MAX, "min");
    if (isDetached(parts.buffer)) throw new TypeError("the buffer of the view is detached");
    if (parts.bytes === 0 || sizeOfBuffer(parts.buffer) === 0) throw new TypeError("the view is empty");
    if (min === 0) throw new TypeError("min must be more than 0");
    if (min > parts.bytes / parts.unit) throw new RangeError("min is larger than the view");
    if (reader.stream === undefined) throw new TypeError("the reader is released");
    const { promise, resolve, reject } = deferred();
    readBytes(reader, parts, min, {
      __proto__: null,
      chunk: (value) => resolve({ value, done: false }),
      close: (value) => resolve({ value, done: true }),
      error: reject,
    });
    return promise;
  }

  function readBytes(reader, parts, min, request) {
    const { stream } = reader;
    stream.disturbed = true;
    if (stream.state === "errored") request.error(stream.storedError);
    else pullInto(stream.controller, parts, min, request);
  }

  expose(ReadableStreamBYOBReader, "ReadableStreamBYOBReader");
  platformObject({ name: "ReadableStreamBYOBReader", is: isReader });

  return { __proto__: null, ReadableStreamBYOBReader, readBytes, readerStateOf };
})
