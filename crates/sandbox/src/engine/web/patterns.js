// The patterns of one component of a URL, as https://urlpattern.spec.whatwg.org/#pattern-strings has them: their tokens, their
// parts, and the regular expression that they become. The engine's own matches, so a script's limits apply.
(function (primordials, natives, part) {
  "use strict";

  const { apply, construct, regexpExec, RegExp, stringSlice, TypeError } = primordials;
  const { list } = part("shared");

  // The types of tokens.
  const OPEN = 0, CLOSE = 1, REGEXP = 2, NAME = 3, CHAR = 4, ESCAPED = 5, MODIFIER = 6, ASTERISK = 7, END = 8, INVALID = 9;
  // The types of parts. `REGEXP` is one too.
  const TEXT = 10, SEGMENT = 11, FULL = 12;
  const FULL_WILDCARD = ".*";

  // Code points of names that are no ASCII, once there was one.
  let nameStart = null, namePart = null;
  const REGEXP_SYNTAX = special(".+*?^$(){}[]|/\\"), PATTERN_SYNTAX = special("+*?:{}()\\");

  function special(characters) {
    const set = { __proto__: null };
    for (let index = 0; index < characters.length; index++) set[characters[index]] = true;
    return set;
  }

  const slice = (text, start, end) => apply(stringSlice, text, [start, end]);
  const match = (regexp, text) => apply(regexpExec, regexp, [text]);

  // Returns whether a code point may be in a name, which is an identifier of JavaScript.
  function isNamePart(point, isFirst) {
    if (point <= "\x7f") {
      return (point >= "a" && point <= "z") || (point >= "A" && point <= "Z") || point === "_" || point === "$" ||
        (!isFirst && isDigit(point));
    }
    nameStart ??= construct(RegExp, ["^\\p{ID_Start}$", "v"]);
    namePart ??= construct(RegExp, ["^[\\u200c\\u200d\\p{ID_Continue}]$", "v"]);
    return match(isFirst ? nameStart : namePart, point) !== null;
  }

  // Returns the code point at an index.
  function pointAt(text, index) {
    const unit = text[index];
    return unit >= "\ud800" && unit <= "\udbff" ? slice(text, index, index + 2) : unit;
  }

  function wrong(text, index) {
    return new TypeError("the pattern '" + slice(text, 0, 100) + "' is wrong at position " + index);
  }

  // Returns the tokens of a pattern. Without `isStrict` a wrong one becomes a token of its own.
  function tokenize(text, isStrict) {
    const tokens = list();
    let index = 0;

    function add(type, start, end, next) {
      tokens[tokens.length] = { __proto__: null, type, index, value: slice(text, start, end) };
      index = next;
    }
    function fail(next) {
      if (isStrict) throw wrong(text, index);
      add(INVALID, index, next, next);
    }

    while (index < text.length) {
      const point = pointAt(text, index), next = index + point.length;
      if (point === "*") add(ASTERISK, index, next, next);
      else if (point === "+" || point === "?") add(MODIFIER, index, next, next);
      else if (point === "{") add(OPEN, index, next, next);
      else if (point === "}") add(CLOSE, index, next, next);
      else if (point === "\\") {
        if (next === text.length) {
          fail(next);
          continue;
        }
        const end = next + pointAt(text, next).length;
        add(ESCAPED, next, end, end);
      } else if (point === ":") {
        const end = endOfName(text, next);
        if (end === next) fail(next);
        else add(NAME, next, end, end);
      } else if (point === "(") {
        const end = endOfRegexp(text, next);
        if (end <= next) fail(next);
        else add(REGEXP, next, end, end + 1);
      } else add(CHAR, index, next, next);
    }
    add(END, index, index, index);
    return tokens;
  }

  function endOfName(text, start) {
    let end = start;
    while (end < text.length) {
      const point = pointAt(text, end);
      if (!isNamePart(point, end === start)) break;
      end += point.length;
    }
    return end;
  }

  // Returns the index of the parenthesis that ends a regular expression; 0 if there is none.
  function endOfRegexp(text, start) {
    if (text[start] === "?") return 0;
    let depth = 1;
    for (let index = start; index < text.length; index++) {
      const unit = text[index];
      if (unit > "\x7f") return 0;
      if (unit === "\\") {
        index++;
        if (index >= text.length || text[index] > "\x7f") return 0;
      } else if (unit === ")") {
        depth--;
        if (depth === 0) return index;
      } else if (unit === "(") {
        depth++;
        // No further group may capture.
        if (text[index + 1] !== "?") return 0;
      }
    }
    return 0;
  }

  // Returns the parts of a pattern. `encode` makes a fixed text canonical.
  function parse(text, options, encode) {
    const tokens = tokenize(text, true);
    const wildcard = segmentWildcard(options);
    const parts = list(), names = { __proto__: null };
    let index = 0, pending = "", nextNumber = 0;

    function take(type) {
      const token = tokens[index];
      if (token.type !== type) return null;
      index++;
      return token;
    }
    function takeRequired(type) {
      if (take(type) === null) throw wrong(text, tokens[index].index);
    }
    function takeText() {
      let taken = "";
      for (;;) {
        const token = take(CHAR) ?? take(ESCAPED);
        if (token === null) return taken;
        taken += token.value;
      }
    }
    const takeModifier = () => take(MODIFIER) ?? take(ASTERISK);
    const takeGroup = (name) => take(REGEXP) ?? (name === null ? take(ASTERISK) : null);

    function push(type, value, modifier, name, prefix, suffix) {
      parts[parts.length] = { __proto__: null, type, value, modifier, name, prefix, suffix };
    }
    function pushPending() {
      if (pending === "") return;
      const value = encode(pending);
      pending = "";
      push(TEXT, value, "", "", "", "");
    }
    function addPart(prefix, name, group, suffix, modifierToken) {
      const modifier = modifierToken === null ? "" : modifierToken.value;
      const isText = name === null && group === null;
      if (isText && modifier === "") {
        pending += prefix;
        return;
      }
      pushPending();
      if (isText) {
        if (prefix !== "") push(TEXT, encode(prefix), modifier, "", "", "");
        return;
      }
      let value = wildcard;
      if (group !== null) value = group.type === ASTERISK ? FULL_WILDCARD : group.value;
      let type = REGEXP;
      if (value === wildcard) type = SEGMENT;
      else if (value === FULL_WILDCARD) type = FULL;
      const label = name === null ? "" + nextNumber++ : name.value;
      if (names[label]) throw new TypeError("the pattern has the name '" + slice(label, 0, 100) + "' twice");
      names[label] = true;
      push(type, type === REGEXP ? value : "", modifier, label, encode(prefix), encode(suffix));
    }

    while (index < tokens.length) {
      const char = take(CHAR);
      const name = take(NAME);
      const group = takeGroup(name);
      if (name !== null || group !== null) {
        let prefix = char === null ? "" : char.value;
        if (prefix !== options.prefix) {
          pending += prefix;
          prefix = "";
        }
        pushPending();
        addPart(prefix, name, group, "", takeModifier());
        continue;
      }
      const fixed = char ?? take(ESCAPED);
      if (fixed !== null) {
        pending += fixed.value;
        continue;
      }
      if (take(OPEN) !== null) {
        const prefix = takeText();
        const inner = take(NAME);
        const innerGroup = takeGroup(inner);
        const suffix = takeText();
        takeRequired(CLOSE);
        addPart(prefix, inner, innerGroup, suffix, takeModifier());
        continue;
      }
      pushPending();
      takeRequired(END);
    }
    return parts;
  }

  const segmentWildcard = (options) => "[^" + escape(options.delimiter, REGEXP_SYNTAX) + "]+?";

  function escape(text, syntax) {
    let escaped = "", start = 0;
    for (let index = 0; index < text.length; index++) {
      if (!syntax[text[index]]) continue;
      escaped += slice(text, start, index) + "\\" + text[index];
      start = index + 1;
    }
    return start === 0 ? text : escaped + slice(text, start, text.length);
  }

  const isRepeated = (modifier) => modifier === "*" || modifier === "+";

  function regexpOf(parts, options) {
    let source = "^";
    for (let index = 0; index < parts.length; index++) source += sourceOf(parts[index], options);
    return mended(source + "$");
  }

  // The characters that the engine takes for syntax of a class outside of classes too, with the flag `v`: a hyphen and a
  // slash alone, and the others twice.
  const ALONE = { __proto__: null, "-": "\\x2d", "/": "\\/" };
  const TWICE = {
    __proto__: null,
    "&": "\\x26", "!": "\\x21", "#": "\\x23", "%": "\\x25", ",": "\\x2c", ":": "\\x3a", ";": "\\x3b", "<": "\\x3c",
    "=": "\\x3d", ">": "\\x3e", "@": "\\x40", "`": "\\x60", "~": "\\x7e",
  };

  // Writes those characters in a form that the engine takes.
  function mended(source) {
    let made = "", start = 0, depth = 0;
    for (let index = 0; index < source.length; index++) {
      const unit = source[index];
      if (unit === "\\") {
        index++;
      } else if (unit === "[") {
        depth++;
      } else if (depth > 0) {
        if (unit === "]") depth--;
      } else if (unit === "(" && source[index + 1] === "?") {
        index = endOfGroupStart(source, index + 2);
      } else {
        const form = ALONE[unit] ?? (source[index + 1] === unit ? TWICE[unit] : undefined);
        if (form === undefined) continue;
        made += slice(source, start, index) + form;
        start = index + 1;
      }
    }
    return start === 0 ? source : made + slice(source, start, source.length);
  }

  // Returns the index of the last character of `(?:`, `(?=`, `(?<!`, `(?<name>` and the like.
  function endOfGroupStart(source, index) {
    const isBehind = source[index] === "<" && (source[index + 1] === "=" || source[index + 1] === "!");
    if (isBehind) return index + 1;
    const isNamed = source[index] === "<";
    while (index < source.length) {
      const unit = source[index];
      if (isNamed ? unit === ">" : unit === ":" || unit === "=" || unit === "!") return index;
      index++;
    }
    return index;
  }

  function sourceOf({ type, value, modifier, prefix, suffix }, options) {
    if (type === TEXT) {
      const text = escape(value, REGEXP_SYNTAX);
      return modifier === "" ? text : "(?:" + text + ")" + modifier;
    }
    let inner = value;
    if (type === SEGMENT) inner = segmentWildcard(options);
    else if (type === FULL) inner = FULL_WILDCARD;
    if (prefix === "" && suffix === "") {
      return isRepeated(modifier) ? "((?:" + inner + ")" + modifier + ")" : "(" + inner + ")" + modifier;
    }
    const before = escape(prefix, REGEXP_SYNTAX), after = escape(suffix, REGEXP_SYNTAX);
    if (!isRepeated(modifier)) return "(?:" + before + "(" + inner + ")" + after + ")" + modifier;
    return "(?:" + before + "((?:" + inner + ")(?:" + after + before + "(?:" + inner + "))*)" + after + ")" +
      (modifier === "*" ? "?" : "");
  }

  const isDigit = (unit) => unit >= "0" && unit <= "9";

  // Returns the pattern that parts stand for, in its normal form.
  function patternOf(parts, options) {
    let pattern = "";
    for (let index = 0; index < parts.length; index++) {
      const own = parts[index];
      if (own.type === TEXT) {
        const text = escape(own.value, PATTERN_SYNTAX);
        pattern += own.modifier === "" ? text : "{" + text + "}" + own.modifier;
        continue;
      }
      const previous = index === 0 ? null : parts[index - 1];
      const next = index + 1 === parts.length ? null : parts[index + 1];
      pattern += groupOf(own, previous, next, options);
    }
    return pattern;
  }

  function groupOf(own, previous, next, options) {
    const { type, value, modifier, name, prefix, suffix } = own;
    const hasName = !isDigit(name[0]);
    const isGrouped = needsBraces(own, previous, next, options, hasName);
    let group = isGrouped ? "{" : "";
    group += escape(prefix, PATTERN_SYNTAX);
    if (hasName) group += ":" + name;
    if (type === REGEXP) group += "(" + value + ")";
    else if (type === SEGMENT && !hasName) group += "(" + segmentWildcard(options) + ")";
    else if (type === FULL) {
      const isStar = !hasName &&
        (previous === null || previous.type === TEXT || previous.modifier !== "" || isGrouped || prefix !== "");
      group += isStar ? "*" : "(" + FULL_WILDCARD + ")";
    }
    if (type === SEGMENT && hasName && suffix !== "" && isNamePart(pointAt(suffix, 0), false)) group += "\\";
    return group + escape(suffix, PATTERN_SYNTAX) + (isGrouped ? "}" : "") + modifier;
  }

  function needsBraces({ type, modifier, prefix, suffix }, previous, next, options, hasName) {
    if (suffix !== "" || (prefix !== "" && prefix !== options.prefix)) return true;
    const isPlainName = hasName && type === SEGMENT && modifier === "";
    if (isPlainName && next !== null && next.prefix === "" && next.suffix === "") {
      const goesOn = next.type === TEXT ? isNamePart(pointAt(next.value, 0), false) : isDigit(next.name[0]);
      if (goesOn) return true;
    }
    if (prefix !== "" || previous === null || previous.type !== TEXT || options.prefix === "") return false;
    return previous.value[previous.value.length - 1] === options.prefix;
  }

  // Returns a component: its pattern in normal form, its regular expression, and the names of its groups.
  function compile(text, options, encode) {
    const parts = parse(text, options, encode);
    const names = list();
    let hasRegexp = false;
    for (let index = 0; index < parts.length; index++) {
      const { type, name } = parts[index];
      if (type !== TEXT) names[names.length] = name;
      if (type === REGEXP) hasRegexp = true;
    }
    let regexp;
    try {
      regexp = construct(RegExp, [regexpOf(parts, options), options.ignoresCase ? "vi" : "v"]);
    } catch {
      throw new TypeError("the pattern '" + slice(text, 0, 100) + "' has a wrong regular expression");
    }
    return { __proto__: null, pattern: patternOf(parts, options), regexp, names, hasRegexp };
  }

  return {
    __proto__: null,
    ASTERISK, CHAR, CLOSE, END, ESCAPED, INVALID, NAME, OPEN, PATTERN_SYNTAX, REGEXP, compile, escape, match, slice,
    tokenize,
  };
})
