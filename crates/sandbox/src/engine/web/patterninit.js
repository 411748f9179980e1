// The parts of a URL pattern before they are compiled, as https://urlpattern.spec.whatwg.org/#constructor-string-parsing and
// #urlpatterninit-processing have them.
(function (primordials, natives, part) {
  "use strict";

  const { TypeError } = primordials;
  const { canonical } = natives;
  const { parse, split } = part("url");
  const {
    ASTERISK, CHAR, CLOSE, END, ESCAPED, INVALID, NAME, OPEN, PATTERN_SYNTAX, REGEXP, compile, escape, match, slice, tokenize,
  } = part("patterns");

  // The places of the parts of a URL, in the order of `PARTS` in url/mod.rs.
  const PARTS = {
    __proto__: null,
    protocol: 0, username: 1, password: 2, hostname: 4, port: 5, pathname: 6, search: 7, hash: 8,
  };
  // What natives make canonical, in the order of `CANONICAL` in url/pattern.rs.
  const PROTOCOL = 0, USERNAME = 1, PASSWORD = 2, HOSTNAME = 3, PORT = 4, PATHNAME = 5, OPAQUE_PATHNAME = 6, SEARCH = 7,
    HASH = 8, IPV6_HOSTNAME = 9;

  const SPECIAL = { __proto__: null, ftp: "21", file: "", http: "80", https: "443", ws: "80", wss: "443" };
  const PLAIN = { __proto__: null, delimiter: "", prefix: "", ignoresCase: false };

  // Returns what makes a text canonical as part of the component `kind`. Wrong texts throw.
  function encoder(kind, protocol) {
    return (text) => {
      if (text === "") return "";
      const made = canonical(kind, text, protocol);
      if (made === undefined) throw new TypeError("'" + slice(text, 0, 100) + "' cannot be a part of a URL here");
      return made;
    };
  }

  const encodeProtocol = encoder(PROTOCOL);

  function matchesSpecial(protocol) {
    for (const scheme in SPECIAL) {
      if (match(protocol.regexp, scheme) !== null) return true;
    }
    return false;
  }

  // Returns the parts of a URL without the marks between them; null if `text` is no URL.
  function partsOfUrl(text, base) {
    const href = parse(text, base);
    if (href === undefined) return null;
    const own = split(href);
    const parts = { __proto__: null };
    for (const name in PARTS) parts[name] = own[PARTS[name]];
    parts.protocol = slice(parts.protocol, 0, -1);
    parts.search = slice(parts.search, 1);
    parts.hash = slice(parts.hash, 1);
    // A path without a slash at its start is that of a URL without segments.
    parts.isOpaque = parts.pathname !== "" && parts.pathname[0] !== "/";
    return parts;
  }

  // Returns the components that a pattern for a whole URL has. Later components than the last one that is given stay open.
  function parseText(text) {
    const tokens = tokenize(text, false);
    const result = { __proto__: null };
    let state = "init", start = 0, index = 0, step = 1, depth = 0, brackets = 0, isSpecial = false;

    const safe = (at) => at < tokens.length ? tokens[at] : tokens[tokens.length - 1];
    function isPlain(at, value) {
      const { type, value: own } = safe(at);
      return own === value && (type === CHAR || type === ESCAPED || type === INVALID);
    }
    const is = (value) => isPlain(index, value);
    function isSearch() {
      if (is("?")) return true;
      if (tokens[index].value !== "?") return false;
      if (index === 0) return true;
      const { type } = tokens[index - 1];
      return type !== NAME && type !== REGEXP && type !== CLOSE && type !== ASTERISK;
    }
    const component = () => slice(text, safe(start).index, tokens[index].index);

    function change(next, skip) {
      if (state !== "init" && state !== "authority" && state !== "done") result[state] = component();
      if (state !== "init" && next !== "done") fillBefore(next);
      state = next;
      index += skip;
      start = index;
      step = 0;
    }
    // Sets the components between the last one and the next one, which the text leaves out.
    function fillBefore(next) {
      const at = ORDER[state], to = ORDER[next];
      if (at <= ORDER.password && to >= ORDER.port && result.hostname === undefined) result.hostname = "";
      if (at <= ORDER.port && to >= ORDER.search && result.pathname === undefined) result.pathname = isSpecial ? "/" : "";
      if (at <= ORDER.pathname && to === ORDER.hash && result.search === undefined) result.search = "";
    }
    function rewind(next) {
      index = start;
      step = 0;
      state = next;
    }
    function toPathSearchOrHash() {
      if (is("/") && ORDER[state] < ORDER.pathname) change("pathname", 0);
      else if (isSearch() && ORDER[state] < ORDER.search) change("search", 1);
      else if (is("#")) change("hash", 1);
    }
    function atEnd() {
      if (state === "init") {
        rewind("init");
        if (is("#")) change("hash", 1);
        else if (isSearch()) change("search", 1);
        else change("pathname", 0);
        return false;
      }
      if (state === "authority") {
        rewind("hostname");
        return false;
      }
      change("done", 0);
      return true;
    }
    function atToken() {
      switch (state) {
        case "init":
          if (is(":")) rewind("protocol");
          break;
        case "protocol":
          if (is(":")) {
            isSpecial = matchesSpecial(compile(component(), PLAIN, encodeProtocol));
            const hasSlashes = isPlain(index + 1, "/") && isPlain(index + 2, "/");
            change(hasSlashes || isSpecial ? "authority" : "pathname", hasSlashes ? 3 : 1);
          }
          break;
        case "authority":
          if (is("@")) rewind("username");
          else if (is("/") || isSearch() || is("#")) rewind("hostname");
          break;
        case "username":
          if (is(":")) change("password", 1);
          else if (is("@")) change("hostname", 1);
          break;
        case "password":
          if (is("@")) change("hostname", 1);
          break;
        case "hostname":
          if (is("[")) brackets++;
          else if (is("]")) brackets--;
          else if (is(":") && brackets === 0) change("port", 1);
          else toPathSearchOrHash();
          break;
        default:
          if (state !== "hash") toPathSearchOrHash();
      }
    }

    for (; index < tokens.length; index += step) {
      step = 1;
      const { type } = tokens[index];
      if (type === END) {
        if (atEnd()) break;
        continue;
      }
      if (type === OPEN) {
        depth++;
        continue;
      }
      if (depth > 0) {
        if (type !== CLOSE) continue;
        depth--;
      }
      atToken();
    }
    if (result.hostname !== undefined && result.port === undefined) result.port = "";
    return result;
  }

  const ORDER = {
    __proto__: null,
    init: 0, protocol: 1, authority: 2, username: 3, password: 4, hostname: 5, port: 6, pathname: 7, search: 8, hash: 9, done: 10,
  };

  // Returns the components that `init` has or takes from its base URL. In a pattern (`isPattern`) they stay as they are; in a
  // URL they become canonical, and `defaults` are those that are left out.
  function process(init, isPattern, defaults) {
    const result = { __proto__: null };
    for (const name in defaults) result[name] = defaults[name];
    const base = init.baseURL === undefined ? null : partsOfUrl(init.baseURL, undefined);
    if (init.baseURL !== undefined && base === null) throw new TypeError("baseURL is no URL");
    if (base !== null) inherit(result, init, base, isPattern);

    const { protocol, username, password, hostname, port, pathname, search, hash } = init;
    const encode = (kind, text, of) => isPattern ? text : encoder(kind, of)(text);
    if (protocol !== undefined) result.protocol = encode(PROTOCOL, without(protocol, ":", -1));
    if (username !== undefined) result.username = encode(USERNAME, username);
    if (password !== undefined) result.password = encode(PASSWORD, password);
    if (hostname !== undefined) result.hostname = encode(HOSTNAME, hostname);
    const scheme = result.protocol ?? "";
    if (port !== undefined) result.port = encode(PORT, port, scheme);
    if (pathname !== undefined) {
      let path = pathname;
      if (base !== null && !base.isOpaque && !isAbsolute(path, isPattern)) path = folderOf(base, isPattern) + path;
      const isSegmented = scheme === "" || SPECIAL[scheme] !== undefined;
      result.pathname = encode(isSegmented ? PATHNAME : OPAQUE_PATHNAME, path);
    }
    if (search !== undefined) result.search = encode(SEARCH, without(search, "?", 0));
    if (hash !== undefined) result.hash = encode(HASH, without(hash, "#", 0));
    return result;
  }

  const LATER = { __proto__: null, pathname: true, search: true, hash: true };

  // Takes from the base URL the components that are less specific than those of `init`.
  function inherit(result, init, base, isPattern) {
    const escaped = (text) => isPattern ? escape(text, PATTERN_SYNTAX) : text;
    const has = (name) => init[name] !== undefined;
    if (!has("protocol")) result.protocol = escaped(base.protocol);
    let isOpen = !has("protocol") && !has("hostname") && !has("port");
    if (!isPattern && isOpen && !has("username")) {
      result.username = base.username;
      if (!has("password")) result.password = base.password;
    }
    if (!has("protocol") && !has("hostname")) result.hostname = escaped(base.hostname);
    if (isOpen) result.port = base.port;
    for (const name in LATER) {
      isOpen &&= !has(name);
      if (isOpen) result[name] = escaped(base[name]);
    }
  }

  // Returns a text without a mark at its start (`place` 0) or at its end (-1).
  function without(text, mark, place) {
    if (place === 0) return text[0] === mark ? slice(text, 1) : text;
    return text[text.length - 1] === mark ? slice(text, 0, -1) : text;
  }

  function isAbsolute(path, isPattern) {
    if (path[0] === "/") return true;
    return isPattern && (path[0] === "\\" || path[0] === "{") && path[1] === "/";
  }

  function folderOf(base, isPattern) {
    const path = isPattern ? escape(base.pathname, PATTERN_SYNTAX) : base.pathname;
    let end = path.length;
    while (end > 0 && path[end - 1] !== "/") end--;
    return slice(path, 0, end);
  }

  return {
    __proto__: null,
    HASH, HOSTNAME, IPV6_HOSTNAME, OPAQUE_PATHNAME, PARTS, PASSWORD, PATHNAME, PLAIN, PORT, SEARCH, SPECIAL, USERNAME,
    encodeProtocol, encoder, matchesSpecial, parseText, partsOfUrl, process,
  };
})
