// `URLPattern`, as https://urlpattern.spec.whatwg.org/ has it.
(function (primordials, natives, part) {
  "use strict";

  const { defineProperty, TypeError } = primordials;
  const { arrayOf, dictionary, expose, list, platformObject, required, scalars } = part("shared");
  const { compile, match } = part("patterns");
  const {
    HASH, HOSTNAME, IPV6_HOSTNAME, OPAQUE_PATHNAME, PARTS, PASSWORD, PATHNAME, PLAIN, PORT, SEARCH, SPECIAL, USERNAME,
    encodeProtocol, encoder, matchesSpecial, parseText, partsOfUrl, process,
  } = part("patterninit");

  const HOSTNAME_OPTIONS = { __proto__: null, delimiter: ".", prefix: "", ignoresCase: false };
  // The components of a URL that is left out.
  const EMPTY = {
    __proto__: null,
    protocol: "", username: "", password: "", hostname: "", port: "", pathname: "", search: "", hash: "",
  };
  let isPattern;

  const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";

  // Returns the members of a URLPatternInit that are given, or the text of one.
  function inputOf(value) {
    if (!isObject(value) && value !== undefined && value !== null) return scalars(value);
    const init = { __proto__: null };
    if (!isObject(value)) return init;
    for (const name in MEMBERS) {
      const member = value[name];
      if (member !== undefined) init[name] = scalars(member);
    }
    return init;
  }

  // In the order of WebIDL.
  const MEMBERS = {
    __proto__: null,
    baseURL: true, hash: true, hostname: true, password: true, pathname: true, port: true, protocol: true, search: true,
    username: true,
  };

  function compileAll(init, ignoresCase) {
    const parts = process(init, true, null);
    for (const name in PARTS) parts[name] ??= "*";
    if (SPECIAL[parts.protocol] !== undefined && SPECIAL[parts.protocol] === parts.port) parts.port = "";
    const components = { __proto__: null };
    const plain = { __proto__: null, delimiter: "", prefix: "", ignoresCase };
    components.protocol = compile(parts.protocol, PLAIN, encodeProtocol);
    components.username = compile(parts.username, PLAIN, encoder(USERNAME));
    components.password = compile(parts.password, PLAIN, encoder(PASSWORD));
    const hostKind = isIpv6(parts.hostname) ? IPV6_HOSTNAME : HOSTNAME;
    components.hostname = compile(parts.hostname, HOSTNAME_OPTIONS, encoder(hostKind));
    components.port = compile(parts.port, PLAIN, encoder(PORT));
    const isSegmented = matchesSpecial(components.protocol);
    const path = isSegmented ? { __proto__: null, delimiter: "/", prefix: "/", ignoresCase } : plain;
    components.pathname = compile(parts.pathname, path, encoder(isSegmented ? PATHNAME : OPAQUE_PATHNAME));
    components.search = compile(parts.search, plain, encoder(SEARCH));
    components.hash = compile(parts.hash, plain, encoder(HASH));
    return components;
  }

  const isIpv6 = (hostname) =>
    hostname.length > 1 && (hostname[0] === "[" || ((hostname[0] === "{" || hostname[0] === "\\") && hostname[1] === "["));

  class URLPattern {
    #components;

    static {
      isPattern = (object) => #components in object;
    }

    constructor(input = undefined, baseURL = undefined, options = undefined) {
      // The second argument of two is the options, unless it is a text.
      const isOptions = arguments.length < 3 && (baseURL === undefined || baseURL === null || isObject(baseURL));
      const given = inputOf(input);
      const base = isOptions ? null : scalars(baseURL);
      const settings = dictionary(isOptions ? baseURL : options, "the options of URLPattern");
      const ignoresCase = settings !== null && !!settings.ignoreCase;
      let init = given;
      if (typeof given === "string") {
        init = parseText(given);
        if (base !== null) init.baseURL = base;
        else if (init.protocol === undefined) throw new TypeError("the pattern has no protocol, and there is no base URL");
      } else if (base !== null) {
        throw new TypeError("a base URL goes with a text only");
      }
      this.#components = compileAll(init, ignoresCase);
    }

    test(input = undefined, baseURL = undefined) {
      return this.#match(input, baseURL) !== null;
    }

    exec(input = undefined, baseURL = undefined) {
      const found = this.#match(input, baseURL);
      if (found === null) return null;
      const { inputs, results, values } = found;
      const component = (name) => resultOf(this.#components[name], values[name], results[name]);
      return {
        hash: component("hash"),
        hostname: component("hostname"),
        inputs: arrayOf(inputs),
        password: component("password"),
        pathname: component("pathname"),
        port: component("port"),
        protocol: component("protocol"),
        search: component("search"),
        username: component("username"),
      };
    }

    #match(input, baseURL) {
      const components = this.#components;
      const given = inputOf(input);
      const base = baseURL === undefined ? undefined : scalars(baseURL);
      const inputs = list();
      const values = valuesOf(given, base);
      if (values === null) return null;
      inputs[0] = typeof given === "string" ? given : copyOf(given);
      if (base !== undefined) inputs[1] = base;
      const results = { __proto__: null };
      for (const name in PARTS) {
        const result = match(components[name].regexp, values[name]);
        if (result === null) return null;
        results[name] = result;
      }
      return { __proto__: null, inputs, results, values };
    }

    get protocol() {
      return this.#components.protocol.pattern;
    }
    get username() {
      return this.#components.username.pattern;
    }
    get password() {
      return this.#components.password.pattern;
    }
    get hostname() {
      return this.#components.hostname.pattern;
    }
    get port() {
      return this.#components.port.pattern;
    }
    get pathname() {
      return this.#components.pathname.pattern;
    }
    get search() {
      return this.#components.search.pattern;
    }
    get hash() {
      return this.#components.hash.pattern;
    }
    get hasRegExpGroups() {
      for (const name in PARTS) {
        if (this.#components[name].hasRegexp) return true;
      }
      return false;
    }
  }

  // Returns the components of what is matched; null if it is no URL.
  function valuesOf(given, base) {
    if (typeof given === "string") return partsOfUrl(given, base);
    if (base !== undefined) throw new TypeError("a base URL goes with a text only");
    try {
      return process(given, false, EMPTY);
    } catch {
      return null;
    }
  }

  // Returns a dictionary as an object of the script.
  function copyOf(init) {
    const copy = {};
    for (const name in init) put(copy, name, init[name]);
    return copy;
  }

  function put(object, name, value) {
    defineProperty(object, name, { __proto__: null, value, writable: true, enumerable: true, configurable: true });
  }

  function resultOf({ names }, input, result) {
    const groups = {};
    for (let index = 0; index < names.length; index++) put(groups, names[index], result[index + 1]);
    return { groups, input };
  }

  expose(URLPattern, "URLPattern");
  platformObject({ name: "URLPattern", is: isPattern });

  return { __proto__: null, URLPattern };
})
