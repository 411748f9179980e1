// `TextEncoderStream` and `TextDecoderStream`, as https://encoding.spec.whatwg.org/ has them.
(function (primordials, natives, part) {
  "use strict";

  const { apply, stringSlice, TypeError, Uint8Array } = primordials;
  const { bytesOf, expose, platformObject, toText } = part("shared");
  const { decodeWith, encode, newState } = part("encoding");
  const { createTransform } = part("transform");

  let isEncoderStream, isDecoderStream;
  const isHighSurrogate = (unit) => unit >= "\ud800" && unit <= "\udbff";

  class TextEncoderStream {
    #transform;

    static {
      isEncoderStream = (object) => #transform in object;
    }

    constructor() {
      // The first half of a character that the next chunk may complete.
      let pending = "";
      this.#transform = createTransform((chunk, enqueue) => {
        const text = pending + toText(chunk);
        const last = text.length - 1;
        pending = last >= 0 && isHighSurrogate(text[last]) ? text[last] : "";
        const whole = pending === "" ? text : apply(stringSlice, text, [0, last]);
        if (whole !== "") enqueue(encode(whole));
      }, (enqueue) => {
        if (pending !== "") enqueue(encode(pending));
      });
    }

    get encoding() {
      this.#transform;
      return "utf-8";
    }
    get readable() {
      return this.#transform.readable.object;
    }
    get writable() {
      return this.#transform.writable.object;
    }
  }

  class TextDecoderStream {
    #decoder;
    #transform;

    static {
      isDecoderStream = (object) => #transform in object;
    }

    constructor(label = "utf-8", options = undefined) {
      const decoder = newState(label, options);
      this.#decoder = decoder;
      this.#transform = createTransform((chunk, enqueue) => {
        const bytes = bytesOf(chunk);
        if (bytes === null) throw new TypeError("a chunk must be an ArrayBuffer or a view of one");
        const text = decodeWith(decoder, bytes, true);
        if (text !== "") enqueue(text);
      }, (enqueue) => {
        const text = decodeWith(decoder, new Uint8Array(), false);
        if (text !== "") enqueue(text);
      });
    }

    get encoding() {
      return this.#decoder.encoding;
    }
    get fatal() {
      return this.#decoder.fatal;
    }
    get ignoreBOM() {
      return this.#decoder.ignoreBOM;
    }
    get readable() {
      return this.#transform.readable.object;
    }
    get writable() {
      return this.#transform.writable.object;
    }
  }

  expose(TextEncoderStream, "TextEncoderStream");
  expose(TextDecoderStream, "TextDecoderStream");
  platformObject({ name: "TextEncoderStream", is: isEncoderStream });
  platformObject({ name: "TextDecoderStream", is: isDecoderStream });

  return { __proto__: null, TextEncoderStream, TextDecoderStream };
})
