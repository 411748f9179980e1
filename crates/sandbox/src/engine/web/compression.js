// `CompressionStream` and `DecompressionStream`, as https://compression.spec.whatwg.org/ has them.
(function (primordials, natives, part) {
  "use strict";

  const { apply, isView, TypeError, typedArrayBuffer, typedArrayTag, Uint8Array, viewBuffer } = primordials;
  const { codec } = natives;
  const { bytesOf, expose, isSharedBuffer, platformObject, required, sizeOf, toText } = part("shared");
  const { createTransform } = part("transform");

  const FORMATS = { __proto__: null, "deflate": 1, "deflate-raw": 1, "gzip": 1 };
  let isCompression, isDecompression;

  function transformOf(compresses, given, message) {
    const format = toText(given);
    if (FORMATS[format] === undefined) throw new TypeError("'" + format + "' is no format of compression");
    const process = codec(compresses, format);
    const made = (bytes, isLast, enqueue) => {
      const chunk = process(bytes, isLast);
      if (chunk === undefined) throw new TypeError(message);
      if (sizeOf(chunk) > 0) enqueue(chunk);
    };
    return createTransform((chunk, enqueue) => {
      const bytes = bytesOf(chunk);
      if (bytes === null || isShared(chunk)) throw new TypeError("a chunk must be an ArrayBuffer or a view of one");
      made(bytes, false, enqueue);
    }, (enqueue) => made(new Uint8Array(), true, enqueue));
  }

  function isShared(source) {
    if (!isView(source)) return isSharedBuffer(source);
    const isTyped = apply(typedArrayTag, source, []) !== undefined;
    return isSharedBuffer(apply(isTyped ? typedArrayBuffer : viewBuffer, source, []));
  }

  class CompressionStream {
    #transform;

    static {
      isCompression = (object) => #transform in object;
    }

    constructor(format) {
      required(arguments.length, 1, "CompressionStream");
      this.#transform = transformOf(true, format, "the data cannot be compressed");
    }

    get readable() {
      return this.#transform.readable.object;
    }
    get writable() {
      return this.#transform.writable.object;
    }
  }

  class DecompressionStream {
    #transform;

    static {
      isDecompression = (object) => #transform in object;
    }

    constructor(format) {
      required(arguments.length, 1, "DecompressionStream");
      this.#transform = transformOf(false, format, "the data is not of this format of compression");
    }

    get readable() {
      return this.#transform.readable.object;
    }
    get writable() {
      return this.#transform.writable.object;
    }
  }

  expose(CompressionStream, "CompressionStream");
  expose(DecompressionStream, "DecompressionStream");
  platformObject({ name: "CompressionStream", is: isCompression });
  platformObject({ name: "DecompressionStream", is: isDecompression });

  return { __proto__: null, CompressionStream, DecompressionStream };
})
