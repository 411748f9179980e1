// `Response`, as https://fetch.spec.whatwg.org/#response-class has it.
(function (primordials, natives, part) {
  "use strict";

  const { jsonStringify, RangeError, TypeError } = primordials;
  const { clamped, dictionary, expose, platformObject, required, toText } = part("shared");
  const { encode } = part("encoding");
  const { Headers, addTo, copied, guard, valueIn } = part("headers");
  const { cloneOf, extract, isUnusable, mixin } = part("bodies");
  const { parse } = part("url");
  const { isReason } = natives;

  const SECRET = {};
  let stateOf, isResponse;

  class Response {
    #state;

    static {
      stateOf = (response) => response.#state;
      isResponse = (object) => #state in object;
    }

    constructor(body = null, init = undefined) {
      if (body === SECRET) {
        this.#state = init;
        return;
      }
      const extracted = body === null || body === undefined ? null : extract(body);
      this.#state = stateWith(init);
      setBody(this.#state, extracted);
    }

    static error() {
      const state = newState("error", 0, "", new Headers());
      guard(state.headers);
      return new Response(SECRET, state);
    }

    static redirect(url, status = 302) {
      required(arguments.length, 1, "Response.redirect");
      const location = parse(toText(url), undefined);
      if (location === undefined) throw new TypeError("the location is no URL");
      const code = shortOf(status);
      if (code !== 301 && code !== 302 && code !== 303 && code !== 307 && code !== 308) {
        throw new RangeError(code + " is no status of a redirect");
      }
      const state = newState("default", code, "", new Headers());
      addTo(state.headers, "location", location);
      guard(state.headers);
      return new Response(SECRET, state);
    }

    static json(data, init = undefined) {
      required(arguments.length, 1, "Response.json");
      const text = jsonStringify(data);
      if (text === undefined) throw new TypeError("the value has no JSON");
      const body = extract(encode(text));
      body.type = "application/json";
      const state = stateWith(init);
      setBody(state, body);
      return new Response(SECRET, state);
    }

    get type() {
      return this.#state.type;
    }
    get url() {
      this.#state;
      return "";
    }
    get redirected() {
      this.#state;
      return false;
    }
    get status() {
      return this.#state.status;
    }
    get ok() {
      return this.#state.status >= 200 && this.#state.status <= 299;
    }
    get statusText() {
      return this.#state.statusText;
    }
    get headers() {
      return this.#state.headers;
    }

    clone() {
      const state = this.#state;
      if (isUnusable(state.body)) throw new TypeError("the body is used or locked");
      const copy = newState(state.type, state.status, state.statusText, copied(state.headers));
      copy.body = cloneOf(state.body);
      return new Response(SECRET, copy);
    }
  }

  const newState = (type, status, statusText, headers) => ({ __proto__: null, type, status, statusText, headers, body: null });

  // Converts to an unsigned short.
  const shortOf = (value) => {
    const number = clamped(value) % 65536;
    return number < 0 ? number + 65536 : number;
  };

  function stateWith(init) {
    const given = dictionary(init, "the second argument of Response");
    let headers, status = 200, statusText = "";
    if (given !== null) {
      headers = given.headers;
      if (headers !== undefined) headers = new Headers(headers);
      const code = given.status;
      if (code !== undefined) status = shortOf(code);
      const text = given.statusText;
      if (text !== undefined) statusText = toText(text);
    }
    if (status < 200 || status > 599) throw new RangeError("the status must be from 200 to 599");
    if (!isReason(statusText)) throw new TypeError("the statusText has a forbidden character");
    return newState("default", status, statusText, headers === undefined ? new Headers() : headers);
  }

  function setBody(state, body) {
    if (body === null) return;
    const { status } = state;
    if (status === 204 || status === 205 || status === 304) throw new TypeError("a response " + status + " has no body");
    state.body = body;
    if (body.type !== null && valueIn(state.headers, "content-type") === null) addTo(state.headers, "content-type", body.type);
  }

  mixin(Response, (response) => stateOf(response));
  expose(Response, "Response");
  platformObject({ name: "Response", is: isResponse });

  return { __proto__: null, Response };
})
