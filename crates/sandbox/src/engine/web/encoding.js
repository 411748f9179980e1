// `TextEncoder` and `TextDecoder`, as https://encoding.spec.whatwg.org/ has them.
(function (primordials, natives, part) {
  "use strict";

  const { apply, RangeError, typedArrayTag, TypeError, Uint8Array } = primordials;
  const { encode, encodeInto, encodingOf, decode, decoder } = natives;
  const { bytesOf, dictionary, expose, platformObject, required, toText } = part("shared");

  let isEncoder, isDecoder;

  class TextEncoder {
    #encoding = "utf-8";

    static {
      isEncoder = (object) => #encoding in object;
    }

    get encoding() {
      return this.#encoding;
    }

    encode(input = "") {
      this.#encoding;
      return encode(toText(input));
    }

    encodeInto(source, destination) {
      required(this.#encoding && arguments.length, 2, "encodeInto");
      source = toText(source);
      if (!isBytes(destination)) throw new TypeError("encodeInto needs a Uint8Array");
      const done = encodeInto(source, bytesOf(destination));
      return { read: done[0], written: done[1] };
    }
  }

  function isBytes(value) {
    try {
      return apply(typedArrayTag, value, []) === "Uint8Array";
    } catch {
      return false;
    }
  }

  // Makes the state of a decoder.
  function newState(label, options) {
    label = toText(label);
    const given = dictionary(options, "the second argument of TextDecoder");
    const fatal = given !== null && !!given.fatal;
    const ignoreBOM = given !== null && !!given.ignoreBOM;
    const encoding = encodingOf(label);
    if (encoding === undefined) throw new RangeError("the encoding '" + label + "' is not known");
    // `more` decodes what follows after a call with `stream`; it is null if there was none.
    return { __proto__: null, encoding, fatal, ignoreBOM, more: null };
  }

  // Decodes bytes. With `stream` more will follow.
  function decodeWith(state, bytes, stream) {
    const { encoding, fatal, ignoreBOM } = state;
    if (state.more === null && !stream) return text(decode(encoding, bytes, fatal, ignoreBOM));
    const more = state.more === null ? decoder(encoding, ignoreBOM) : state.more;
    state.more = null;
    const decoded = text(more(bytes, fatal, !stream));
    if (stream) state.more = more;
    return decoded;
  }

  function text(decoded) {
    if (decoded === undefined) throw new TypeError("the bytes are not valid in this encoding");
    return decoded;
  }

  class TextDecoder {
    #state;

    static {
      isDecoder = (object) => #state in object;
    }

    constructor(label = "utf-8", options = undefined) {
      this.#state = newState(label, options);
    }

    get encoding() {
      return this.#state.encoding;
    }

    get fatal() {
      return this.#state.fatal;
    }

    get ignoreBOM() {
      return this.#state.ignoreBOM;
    }

    decode(input = undefined, options = undefined) {
      const state = this.#state;
      if (input !== undefined && bytesOf(input) === null) {
        throw new TypeError("decode needs an ArrayBuffer or a view of one");
      }
      const given = dictionary(options, "the second argument of decode");
      const stream = given !== null && !!given.stream;
      // Only now: the getter of `stream` may have detached the buffer.
      return decodeWith(state, input === undefined ? new Uint8Array() : bytesOf(input), stream);
    }
  }

  expose(TextEncoder, "TextEncoder");
  expose(TextDecoder, "TextDecoder");
  platformObject({ name: "TextEncoder", is: isEncoder });
  platformObject({ name: "TextDecoder", is: isDecoder });

  // The text of bytes, with U+FFFD for what is wrong.
  const decodeWhole = (encoding, bytes) => decode(encoding, bytes, false, false);

  return { __proto__: null, TextEncoder, TextDecoder, decodeWhole, decodeWith, encode, newState };
})
