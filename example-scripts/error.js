// expect: threw
// An error that the script does not catch: name, message, place and cause come back as data, with HTTP 200.
function parseConfiguration(text) {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TypeError("the configuration is not JSON", { cause });
  }
}

parseConfiguration("{ port: 8080 }");
