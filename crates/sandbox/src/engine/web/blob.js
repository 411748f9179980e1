// `Blob` and `File`, as https://w3c.github.io/FileAPI/ has them.
(function (primordials, natives, part) {
  "use strict";

  const {
    apply, iterator, toLowerCase, TypeError, typedArrayBuffer, typedArraySet, Uint8Array,
  } = primordials;
  const { withLineFeeds, now } = natives;
  const {
    bytesOf, clamped, dictionary, expose, iterate, list, platformObject, required, scalars, sizeOf, toText,
  } = part("shared");
  const { encode, decodeWhole } = part("encoding");

  const NOT_PARTS = "the parts of a Blob must be a sequence";
  // Bytes of a chunk of a stream.
  const CHUNK_BYTES = 65536;
  let stateOf, isBlob, fileOf, isFile;

  // Bytes of a blob: part of an array that nothing changes. Slices share it.
  const newState = (bytes, start, end, type) => ({ __proto__: null, bytes, start, end, type });
  const viewOf = ({ bytes, start, end }) => new Uint8Array(apply(typedArrayBuffer, bytes, []), start, end - start);
  const copyOf = (state) => {
    const copy = new Uint8Array(state.end - state.start);
    apply(typedArraySet, copy, [viewOf(state)]);
    return copy;
  };

  class Blob {
    #state;

    static {
      stateOf = (blob) => blob.#state;
      isBlob = (object) => typeof object === "object" && object !== null && #state in object;
    }

    constructor(blobParts = undefined, options = undefined) {
      if (blobParts === isBlob) {
        this.#state = options;
        return;
      }
      const parts = blobParts === undefined ? list() : partsOf(blobParts);
      const { endings, type } = optionsOf(options, "the options of Blob");
      const bytes = joined(parts, endings);
      this.#state = newState(bytes, 0, sizeOf(bytes), type);
    }

    get size() {
      return this.#state.end - this.#state.start;
    }

    get type() {
      return this.#state.type;
    }

    slice(start = undefined, end = undefined, contentType = undefined) {
      const state = this.#state;
      const size = state.end - state.start;
      const from = relative(start, size, 0);
      const to = relative(end, size, size);
      const type = contentType === undefined ? "" : typeOf(toText(contentType));
      return new Blob(isBlob, newState(state.bytes, state.start + from, state.start + (to > from ? to : from), type));
    }

    stream() {
      return streamOf(this.#state);
    }

    async text() {
      return decodeWhole("utf-8", viewOf(this.#state));
    }

    async arrayBuffer() {
      return apply(typedArrayBuffer, copyOf(this.#state), []);
    }

    async bytes() {
      return copyOf(this.#state);
    }
  }

  // Converts the parts: bytes stay what they are, a Blob is its state, anything else becomes text.
  function partsOf(value) {
    if ((typeof value !== "object" && typeof value !== "function") || value === null) throw new TypeError(NOT_PARTS);
    const parts = list();
    for (const item of iterate(value, value[iterator], NOT_PARTS)) {
      parts[parts.length] = isBlob(item) || bytesOf(item) !== null ? item : scalars(item);
    }
    return parts;
  }

  function optionsOf(options, what) {
    const given = dictionary(options, what);
    const read = { __proto__: null, endings: "transparent", lastModified: undefined, type: "" };
    if (given === null) return read;
    const { endings } = given;
    if (endings !== undefined) read.endings = toText(endings);
    if (read.endings !== "transparent" && read.endings !== "native") {
      throw new TypeError("'" + read.endings + "' is no way to treat line endings");
    }
    const { type } = given;
    if (type !== undefined) read.type = typeOf(toText(type));
    return read;
  }

  // Returns a type in lower case, or an empty text if it has other characters than printable ones of ASCII.
  function typeOf(text) {
    for (let index = 0; index < text.length; index++) {
      if (text[index] < " " || text[index] > "~") return "";
    }
    return apply(toLowerCase, text, []);
  }

  function joined(parts, endings) {
    let size = 0;
    const views = list();
    for (let index = 0; index < parts.length; index++) {
      const part = parts[index];
      const view = typeof part === "string" ? encode(endings === "native" ? withLineFeeds(part) : part) :
        isBlob(part) ? viewOf(stateOf(part)) : bytesOf(part);
      views[index] = view;
      size += sizeOf(view);
    }
    const bytes = new Uint8Array(size);
    let offset = 0;
    for (let index = 0; index < views.length; index++) {
      apply(typedArraySet, bytes, [views[index], offset]);
      offset += sizeOf(views[index]);
    }
    return bytes;
  }

  function relative(value, size, otherwise) {
    if (value === undefined) return otherwise;
    const place = clamped(value);
    if (place < 0) return place + size > 0 ? place + size : 0;
    return place < size ? place : size;
  }

  function streamOf(state) {
    const { create, controllerClose, enqueue } = part("bytestreams");
    const { respond } = part("byobrequest");
    const { resolvedWith, isEmpty } = part("queues");
    let { start } = state;
    const stream = create({
      __proto__: null,
      start() {},
      pull() {
        const { controller } = stream;
        if (start === state.end) {
          controllerClose(controller);
          if (!isEmpty(controller.pendingPullIntos)) respond(controller, 0);
        } else {
          const end = state.end - start > CHUNK_BYTES ? start + CHUNK_BYTES : state.end;
          const chunk = copyOf(newState(state.bytes, start, end, ""));
          start = end;
          enqueue(controller, {
            __proto__: null, buffer: apply(typedArrayBuffer, chunk, []), offset: 0, bytes: sizeOf(chunk),
          });
        }
        return resolvedWith(undefined);
      },
      cancel: () => resolvedWith(undefined),
    });
    return stream.object;
  }

  class File extends Blob {
    #file;

    static {
      fileOf = (file) => file.#file;
      isFile = (object) => typeof object === "object" && object !== null && #file in object;
    }

    constructor(fileBits, fileName, options = undefined) {
      if (fileBits === isFile) {
        super(isBlob, fileName);
        this.#file = options;
        return;
      }
      required(arguments.length, 2, "File");
      const parts = partsOf(fileBits);
      const name = scalars(fileName);
      const { endings, type } = optionsOf(options, "the options of File");
      const modified = options === undefined || options === null ? undefined : options.lastModified;
      const bytes = joined(parts, endings);
      super(isBlob, newState(bytes, 0, sizeOf(bytes), type));
      this.#file = { __proto__: null, name, lastModified: modified === undefined ? now() : clampedTime(modified) };
    }

    get name() {
      return this.#file.name;
    }

    get lastModified() {
      return this.#file.lastModified;
    }
  }

  // Converts to a `long long`, without its limits: times are far below them.
  function clampedTime(value) {
    const number = +value;
    if (number !== number || number === Infinity || number === -Infinity) return 0;
    return number - number % 1 + 0;
  }

  // Makes a File of a Blob, for a form.
  const named = (blob, name) =>
    new File(isFile, stateOf(blob), {
      __proto__: null, name, lastModified: isFile(blob) ? fileOf(blob).lastModified : now(),
    });

  expose(Blob, "Blob");
  expose(File, "File");
  // The more special class comes first: a File is a Blob too.
  platformObject({
    name: "File",
    is: isFile,
    serialize: (file) => ({ __proto__: null, state: stateOf(file), file: fileOf(file) }),
    deserialize: ({ state, file }) => new File(isFile, state, file),
  });
  platformObject({
    name: "Blob", is: isBlob, serialize: stateOf, deserialize: (state) => new Blob(isBlob, state),
  });

  // What other parts need of blobs: making one, and its bytes.
  const blobOf = (bytes, type) => new Blob(isBlob, newState(bytes, 0, sizeOf(bytes), typeOf(type)));
  const newFile = (bytes, type, name) => named(blobOf(bytes, type), name);
  const streamOfBytes = (bytes) => streamOf(newState(bytes, 0, sizeOf(bytes), ""));

  return {
    __proto__: null, Blob, File, blobOf, bytesOfBlob: (blob) => viewOf(stateOf(blob)), isBlob, isFile,
    nameOf: (file) => fileOf(file).name, named, newFile, streamOfBytes, typeOfBlob: (blob) => stateOf(blob).type,
  };
})
