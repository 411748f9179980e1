// `WritableStreamDefaultWriter`, as https://streams.spec.whatwg.org/#default-writer-class has it.
(function (primordials, natives, part) {
  "use strict";

  const { TypeError } = primordials;
  const { expose, platformObject } = part("shared");
  const { deferred, handled, push, rejectedWith, resolvedWith, settled } = part("queues");
  const {
    abort, chunkSize, close, closeQueuedOrInFlight, controllerWrite, desiredSize, ensureReadyRejected, isStream, pending,
    stateOf,
  } = part("writable");

  let writerStateOf, isWriter;
  const notOf = (what) => rejectedWith(new TypeError("this is no " + what));
  const done = () => settled(resolvedWith(undefined));
  const failed = (reason) => settled(handled(rejectedWith(reason)));

  class WritableStreamDefaultWriter {
    #state;

    static {
      writerStateOf = (writer) => writer.#state;
      isWriter = (object) => typeof object === "object" && object !== null && #state in object;
    }

    constructor(stream) {
      if (!isStream(stream)) throw new TypeError("WritableStreamDefaultWriter needs a WritableStream");
      const of = stateOf(stream);
      if (of.writer !== undefined) throw new TypeError("the stream is locked");
      this.#state = { __proto__: null, object: this, stream: of, ready: undefined, closed: undefined };
      setUpWriter(this.#state, of);
    }

    get closed() {
      return isWriter(this) ? this.#state.closed.promise : handled(notOf("WritableStreamDefaultWriter"));
    }

    get desiredSize() {
      if (this.#state.stream === undefined) throw new TypeError("the writer is released");
      return desiredSize(this.#state.stream);
    }

    get ready() {
      return isWriter(this) ? this.#state.ready.promise : handled(notOf("WritableStreamDefaultWriter"));
    }

    abort(reason = undefined) {
      if (!isWriter(this)) return notOf("WritableStreamDefaultWriter");
      if (this.#state.stream === undefined) return rejectedWith(new TypeError("the writer is released"));
      return abort(this.#state.stream, reason);
    }

    close() {
      if (!isWriter(this)) return notOf("WritableStreamDefaultWriter");
      const { stream } = this.#state;
      if (stream === undefined) return rejectedWith(new TypeError("the writer is released"));
      if (closeQueuedOrInFlight(stream)) return rejectedWith(new TypeError("the stream is being closed"));
      return close(stream);
    }

    releaseLock() {
      if (this.#state.stream !== undefined) releaseWriter(this.#state);
    }

    write(chunk = undefined) {
      if (!isWriter(this)) return notOf("WritableStreamDefaultWriter");
      if (this.#state.stream === undefined) return rejectedWith(new TypeError("the writer is released"));
      return write(this.#state, chunk);
    }
  }

  function setUpWriter(writer, stream) {
    stream.writer = writer;
    const { state } = stream;
    const error = stream.storedError;
    const waits = state === "writable" && !closeQueuedOrInFlight(stream) && stream.backpressure;
    const isFailing = state === "erroring" || state === "errored";
    writer.ready = waits ? pending() : isFailing ? failed(error) : done();
    writer.closed = state === "closed" ? done() : state === "errored" ? failed(error) : pending();
  }

  function ensureClosedRejected(writer, error) {
    if (writer.closed.isPending) writer.closed.reject(error);
    else writer.closed = settled(rejectedWith(error));
    handled(writer.closed.promise);
  }

  function releaseWriter(writer) {
    const error = new TypeError("the writer is released");
    ensureReadyRejected(writer, error);
    ensureClosedRejected(writer, error);
    writer.stream.writer = undefined;
    writer.stream = undefined;
  }

  function acquireWriter(stream) {
    return writerStateOf(new WritableStreamDefaultWriter(stream.object));
  }

  function closeWithErrorPropagation(writer) {
    const { stream } = writer;
    if (closeQueuedOrInFlight(stream) || stream.state === "closed") return resolvedWith(undefined);
    if (stream.state === "errored") return rejectedWith(stream.storedError);
    return close(stream);
  }

  function write(writer, chunk) {
    const { stream } = writer;
    const { controller } = stream;
    const size = chunkSize(controller, chunk);
    if (stream !== writer.stream) return rejectedWith(new TypeError("the writer is released"));
    if (stream.state === "errored") return rejectedWith(stream.storedError);
    if (closeQueuedOrInFlight(stream) || stream.state === "closed") {
      return rejectedWith(new TypeError("the stream is closed or being closed"));
    }
    if (stream.state === "erroring") return rejectedWith(stream.storedError);
    const request = deferred();
    push(stream.writeRequests, request);
    controllerWrite(controller, chunk, size);
    return request.promise;
  }

  expose(WritableStreamDefaultWriter, "WritableStreamDefaultWriter");
  platformObject({ name: "WritableStreamDefaultWriter", is: isWriter });

  return {
    __proto__: null, WritableStreamDefaultWriter, acquireWriter, closeWithErrorPropagation, releaseWriter, write,
  };
})
