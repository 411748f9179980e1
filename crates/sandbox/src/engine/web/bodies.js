// The bodies of Request and Response, as https://fetch.spec.whatwg.org/#bodies has them.
(function (primordials, natives, part) {
  "use strict";

  const {
    apply, defineProperty, getOwnPropertyDescriptor, jsonParse, ownKeys, setPrototypeOf, TypeError, typedArrayBuffer, typedArraySet, typedArrayTag, Uint8Array,
  } = primordials;
  const { boundary, essence, escapedName, parseMultipart, withCrLf } = natives;
  const { bytesOf, list, scalars, sizeOf } = part("shared");
  const { decodeWhole, encode } = part("encoding");
  const { deferred, handled, rejectedWith } = part("queues");
  const { blobOf, bytesOfBlob, isBlob, nameOf, newFile, streamOfBytes, typeOfBlob } = part("blob");
  const { parseQuery, isParams, textOf } = part("url");
  const { FormData, addTo, entriesOf, isForm } = part("forms");
  const { valueIn } = part("headers");

  const FORM_TYPE = "application/x-www-form-urlencoded;charset=UTF-8";
  const TEXT_TYPE = "text/plain;charset=UTF-8";

  const newBody = (bytes, stream, type) => ({ __proto__: null, bytes, stream, type, isUsed: false });

  // Makes a body of what a script gives. `type` is the type that belongs to it, or null.
  function extract(given) {
    const readable = part("readable");
    if (readable.isStream(given)) {
      const stream = readable.stateOf(given);
      if (stream.disturbed || stream.reader !== undefined) throw new TypeError("the stream is used or locked");
      return newBody(undefined, stream, null);
    }
    if (isBlob(given)) return newBody(bytesOfBlob(given), undefined, typeOfBlob(given) === "" ? null : typeOfBlob(given));
    if (isForm(given)) return ofForm(given);
    if (isParams(given)) return newBody(encode(textOf(given)), undefined, FORM_TYPE);
    const bytes = bytesOf(given);
    if (bytes === null) return newBody(encode(scalars(given)), undefined, TEXT_TYPE);
    return newBody(copyOf(bytes), undefined, null);
  }

  function copyOf(bytes) {
    const copy = new Uint8Array(sizeOf(bytes));
    apply(typedArraySet, copy, [bytes]);
    return copy;
  }

  function ofForm(form) {
    const mark = boundary();
    const parts = list();
    const entries = entriesOf(form);
    const line = (text) => {
      parts[parts.length] = encode(text + "\r\n");
    };
    for (let index = 0; index < entries.length; index += 2) {
      const value = entries[index + 1];
      const isText = typeof value === "string";
      const name = escapedName(entries[index]);
      line("--" + mark);
      if (isText) {
        line("Content-Disposition: form-data; name=\"" + name + "\"");
      } else {
        line("Content-Disposition: form-data; name=\"" + name + "\"; filename=\"" + (escapedName(nameOf(value))) + "\"");
        line("Content-Type: " + (typeOfBlob(value) === "" ? "application/octet-stream" : typeOfBlob(value)));
      }
      line("");
      parts[parts.length] = isText ? encode(withCrLf(value)) : bytesOfBlob(value);
      line("");
    }
    line("--" + mark + "--");
    return newBody(joined(parts), undefined, "multipart/form-data; boundary=" + mark);
  }

  function joined(parts) {
    let size = 0;
    for (let index = 0; index < parts.length; index++) size += sizeOf(parts[index]);
    const bytes = new Uint8Array(size);
    let offset = 0;
    for (let index = 0; index < parts.length; index++) {
      apply(typedArraySet, bytes, [parts[index], offset]);
      offset += sizeOf(parts[index]);
    }
    return bytes;
  }

  // The stream of a body, made when a script first asks for it.
  function streamOf(body) {
    if (body === null) return null;
    if (body.stream === undefined) {
      const { acquireReader, stateOf } = part("readable");
      body.stream = stateOf(streamOfBytes(body.isUsed ? new Uint8Array() : body.bytes));
      if (body.isUsed) {
        // As if a reader had read it to its end.
        acquireReader(body.stream);
        body.stream.disturbed = true;
      }
    }
    return body.stream.object;
  }

  const isUsed = (body) => body !== null && (body.isUsed || (body.stream !== undefined && body.stream.disturbed));
  const isUnusable = (body) =>
    body !== null && (isUsed(body) || (body.stream !== undefined && body.stream.reader !== undefined));

  // Returns a second body with the same content.
  function cloneOf(body) {
    if (body === null) return null;
    if (body.stream === undefined) return newBody(body.bytes, undefined, body.type);
    const branches = part("pipes").tee(body.stream, true);
    body.stream = branches[0];
    return newBody(undefined, branches[1], body.type);
  }

  // Takes the content of a body for another object.
  function taken(body) {
    if (body === null) return null;
    const own = newBody(body.bytes, body.stream, body.type);
    body.isUsed = true;
    if (body.stream !== undefined) {
      const readable = part("readable");
      const writable = part("transform").createTransform((chunk, enqueue) => enqueue(chunk), () => {});
      handled(part("pipes").pipe(body.stream, writable.writable, {
        __proto__: null, preventAbort: false, preventCancel: false, preventClose: false, signal: undefined,
      }));
      own.stream = readable.stateOf(writable.readable.object);
    }
    return own;
  }

  // Reads all chunks of a stream, and gives their bytes to `deliver`.
  function readAll(stream, deliver, fail) {
    const { acquireReader, read } = part("readable");
    const reader = acquireReader(stream);
    const parts = list();
    const next = () => read(reader, {
      __proto__: null,
      chunk(chunk) {
        if (!isBytes(chunk)) {
          fail(new TypeError("a chunk of the body is no Uint8Array"));
          return;
        }
        parts[parts.length] = copyOf(bytesOf(chunk));
        next();
      },
      close: () => deliver(joined(parts)),
      error: fail,
    });
    next();
  }

  function isBytes(chunk) {
    try {
      return apply(typedArrayTag, chunk, []) === "Uint8Array";
    } catch {
      return false;
    }
  }

  // Reads a body. The promise has what `convert` makes of its bytes, which it must not change.
  function consume(body, convert) {
    if (isUnusable(body)) return rejectedWith(new TypeError("the body is used or locked"));
    const { promise, resolve, reject } = deferred();
    const deliver = (bytes) => {
      try {
        resolve(convert(bytes));
      } catch (error) {
        reject(error);
      }
    };
    if (body === null) {
      deliver(new Uint8Array());
    } else if (body.stream === undefined) {
      body.isUsed = true;
      deliver(body.bytes);
    } else {
      readAll(body.stream, deliver, reject);
    }
    return promise;
  }

  const textOfBytes = (bytes) => decodeWhole("utf-8", bytes);

  function formOf(bytes, type) {
    const form = new FormData();
    const kind = essence(type);
    if (kind === "application/x-www-form-urlencoded") {
      // A byte order mark is not at the start of the text then, so that the decoder keeps it.
      const parts = list();
      parts[0] = encode("?");
      parts[1] = bytes;
      const pairs = parseQuery(textOfBytes(joined(parts)));
      for (let index = 0; index < pairs.length; index += 2) addTo(form, pairs[index], pairs[index + 1]);
      return form;
    }
    if (kind !== "multipart/form-data") throw new TypeError("the body is no form");
    const parts = parseMultipart(bytes, type);
    if (parts === undefined) throw new TypeError("the form cannot be read");
    for (let index = 0; index < parts.length; index += 4) {
      const name = parts[index], filename = parts[index + 1], content = parts[index + 3];
      addTo(form, name, filename === undefined ? textOfBytes(content) : newFile(content, parts[index + 2], filename));
    }
    return form;
  }

  // Gives an interface the members of a body. `of` returns body and headers of an object, and throws for any other object.
  function mixin(Interface, of) {
    const read = (object, convert) => {
      try {
        const { body, headers } = of(object);
        return consume(body, (bytes) => convert(bytes, headers));
      } catch (error) {
        return rejectedWith(error);
      }
    };
    const typeIn = (headers) => {
      const type = valueIn(headers, "content-type");
      return type === null ? "" : type;
    };
    const methods = {
      get body() {
        return streamOf(of(this).body);
      },
      get bodyUsed() {
        return isUsed(of(this).body);
      },
      arrayBuffer() {
        return read(this, (bytes) => apply(typedArrayBuffer, copyOf(bytes), []));
      },
      blob() {
        return read(this, (bytes, headers) => blobOf(copyOf(bytes), typeIn(headers)));
      },
      bytes() {
        return read(this, copyOf);
      },
      formData() {
        return read(this, (bytes, headers) => formOf(bytes, typeIn(headers)));
      },
      json() {
        return read(this, (bytes) => jsonParse(textOfBytes(bytes)));
      },
      text() {
        return read(this, textOfBytes);
      },
    };
    const keys = ownKeys(methods);
    for (let index = 0; index < keys.length; index++) {
      const descriptor = getOwnPropertyDescriptor(methods, keys[index]);
      setPrototypeOf(descriptor, null);
      defineProperty(Interface.prototype, keys[index], descriptor);
    }
  }

  return { __proto__: null, cloneOf, extract, isUnusable, mixin, taken };
})
