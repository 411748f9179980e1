// `Request` and `fetch`, as https://fetch.spec.whatwg.org/#request-class has them. No request is ever sent.
(function (primordials, natives, part) {
  "use strict";

  const { TypeError } = primordials;
  const { dictionary, expose, platformObject, required, toText } = part("shared");
  const { rejectedWith } = part("queues");
  const { Headers, addTo, copied, valueIn } = part("headers");
  const { cloneOf, extract, isUnusable, mixin, taken } = part("bodies");
  const { parse, split } = part("url");
  const { anyOf, isSignal } = part("abort");
  const { list } = part("shared");
  const { methodOf } = natives;

  // The values of the enumerations of RequestInit.
  const VALUES = {
    __proto__: null,
    cache: ["default", "no-store", "reload", "no-cache", "force-cache", "only-if-cached"],
    credentials: ["omit", "same-origin", "include"],
    duplex: ["half"],
    mode: ["same-origin", "cors", "no-cors", "navigate"],
    priority: ["high", "low", "auto"],
    redirect: ["follow", "error", "manual"],
    referrerPolicy: [
      "", "no-referrer", "no-referrer-when-downgrade", "same-origin", "origin", "strict-origin", "origin-when-cross-origin",
      "strict-origin-when-cross-origin", "unsafe-url",
    ],
  };
  const MEMBERS = ["cache", "credentials", "integrity", "keepalive", "mode", "redirect", "referrer", "referrerPolicy"];
  const NO_NETWORK = "fetch is not available: scripts have no network. Fetch the data before, and pass it as `input`";
  let stateOf, isRequest;

  class Request {
    #state;

    static {
      stateOf = (request) => request.#state;
      isRequest = (object) => typeof object === "object" && object !== null && #state in object;
    }

    constructor(input, init = undefined) {
      if (input === isRequest) {
        this.#state = init;
        return;
      }
      required(arguments.length, 1, "Request");
      const from = isRequest(input) ? stateOf(input) : null;
      const url = from === null ? urlOf(toText(input)) : from.url;
      this.#state = made(from, url, read(init));
    }

    get method() {
      return this.#state.method;
    }
    get url() {
      return this.#state.url;
    }
    get headers() {
      return this.#state.headers;
    }
    get destination() {
      this.#state;
      return "";
    }
    get referrer() {
      return this.#state.referrer;
    }
    get referrerPolicy() {
      return this.#state.referrerPolicy;
    }
    get mode() {
      return this.#state.mode;
    }
    get credentials() {
      return this.#state.credentials;
    }
    get cache() {
      return this.#state.cache;
    }
    get redirect() {
      return this.#state.redirect;
    }
    get integrity() {
      return this.#state.integrity;
    }
    get keepalive() {
      return this.#state.keepalive;
    }
    get isReloadNavigation() {
      this.#state;
      return false;
    }
    get isHistoryNavigation() {
      this.#state;
      return false;
    }
    get signal() {
      return this.#state.signal;
    }
    get duplex() {
      this.#state;
      return "half";
    }

    clone() {
      const state = this.#state;
      if (isUnusable(state.body)) throw new TypeError("the body is used or locked");
      return new Request(isRequest, {
        __proto__: null, ...state, headers: copied(state.headers), body: cloneOf(state.body), signal: following(state.signal),
      });
    }
  }

  function following(signal) {
    const signals = list();
    signals[0] = signal;
    return anyOf(signals);
  }

  function urlOf(text) {
    const url = parse(text, undefined);
    if (url === undefined) throw new TypeError("'" + text + "' is no URL");
    const parts = split(url);
    if (parts[1] !== "" || parts[2] !== "") throw new TypeError("the URL of a request has no name and no password");
    return url;
  }

  // Reads the members of RequestInit in the order of WebIDL.
  function read(init) {
    const given = dictionary(init, "the second argument of Request");
    const found = { __proto__: null, isEmpty: true };
    if (given === null) return found;
    const member = (name, convert) => {
      const value = given[name];
      if (value === undefined) return;
      found[name] = convert(value);
      found.isEmpty = false;
    };
    const oneOf = (name) => (value) => {
      const text = toText(value);
      const values = VALUES[name];
      for (let index = 0; index < values.length; index++) {
        if (values[index] === text) return text;
      }
      throw new TypeError("'" + text + "' is no value of " + name);
    };
    const text = (value) => toText(value);
    member("body", (value) => value);
    member("cache", oneOf("cache"));
    member("credentials", oneOf("credentials"));
    member("duplex", oneOf("duplex"));
    member("headers", (value) => new Headers(value));
    member("integrity", text);
    member("keepalive", (value) => !!value);
    member("method", text);
    member("mode", oneOf("mode"));
    member("priority", oneOf("priority"));
    member("redirect", oneOf("redirect"));
    member("referrer", text);
    member("referrerPolicy", oneOf("referrerPolicy"));
    member("signal", (value) => {
      if (value !== null && !isSignal(value)) throw new TypeError("signal must be an AbortSignal");
      return value;
    });
    member("window", (value) => {
      if (value !== null) throw new TypeError("window must be null");
      return value;
    });
    return found;
  }

  function made(from, url, init) {
    const state = {
      __proto__: null, method: "GET", url, headers: undefined, body: null, referrer: "about:client", referrerPolicy: "",
      mode: "cors", credentials: "same-origin", cache: "default", redirect: "follow", integrity: "", keepalive: false,
      signal: undefined,
    };
    for (let index = 0; index < MEMBERS.length; index++) {
      const name = MEMBERS[index];
      if (from !== null) state[name] = from[name];
      if (init[name] !== undefined) state[name] = init[name];
    }
    if (from !== null) state.method = from.method;
    if (init.mode === "navigate") throw new TypeError("a script makes no request of the mode navigate");
    if (init.referrer !== undefined) state.referrer = referrerOf(init.referrer);
    if (state.cache === "only-if-cached" && state.mode !== "same-origin") {
      throw new TypeError("only-if-cached needs the mode same-origin");
    }
    if (init.method !== undefined) {
      state.method = methodOf(init.method);
      if (state.method === undefined) throw new TypeError("'" + init.method + "' is no method of a request");
    }
    const signal = init.signal !== undefined ? init.signal : from === null ? null : from.signal;
    state.signal = signal === null ? anyOf(list()) : following(signal);
    if (init.headers !== undefined) state.headers = init.headers;
    else state.headers = from === null ? new Headers() : copied(from.headers);
    addBody(state, from, init);
    return state;
  }

  function referrerOf(text) {
    if (text === "") return "";
    const url = parse(text, undefined);
    if (url === undefined) throw new TypeError("the referrer is no URL");
    // Of another origin than the script, which has none.
    return "about:client";
  }

  function addBody(state, from, init) {
    const hasBody = init.body !== undefined && init.body !== null;
    const inherited = from === null ? null : from.body;
    if ((hasBody || inherited !== null) && (state.method === "GET" || state.method === "HEAD")) {
      throw new TypeError("a request " + state.method + " has no body");
    }
    if (hasBody) {
      const body = extract(init.body);
      if (body.stream !== undefined && init.duplex === undefined) throw new TypeError("a body that is a stream needs duplex");
      state.body = body;
      const isMissing = body.type !== null && valueIn(state.headers, "content-type") === null;
      if (isMissing) addTo(state.headers, "content-type", body.type);
    } else if (inherited !== null) {
      if (isUnusable(inherited)) throw new TypeError("the body of the request is used or locked");
      state.body = taken(inherited);
    }
  }

  function fetch(input, init = undefined) {
    try {
      required(arguments.length, 1, "fetch");
      new Request(input, init);
    } catch (error) {
      return rejectedWith(error);
    }
    return rejectedWith(new TypeError(NO_NETWORK));
  }

  mixin(Request, (request) => stateOf(request));
  expose(Request, "Request");
  platformObject({ name: "Request", is: isRequest });

  return { __proto__: null, Request, fetch };
})
