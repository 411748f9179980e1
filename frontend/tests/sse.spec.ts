// The parser of server-sent events, without a browser.

import { expect, test } from "@playwright/test";
import { EventParser, type ServerEvent } from "../src/sse";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Parses a stream that arrives in pieces of `length` bytes. */
function parse(text: string, length: number, parser = new EventParser()): ServerEvent[] {
  const all = bytes(text);
  const events: ServerEvent[] = [];
  for (let start = 0; start < all.length; start += length) events.push(...parser.push(all.subarray(start, start + length)));
  return events;
}

const STREAM = [
  "\uFEFFretry: 250\n\n",
  ": a comment\r\n\r\n",
  'id: 1-0\r\nevent: log\r\ndata: {"text":"Grüße, 日本, 🐦"}\r\n\r\n',
  "id: 1-1\rdata: one\rdata: two\rdata\r\r",
  "event: state\ndata:no space\nunknown: field\n\n",
  "event: nothing\nid: 1-2\n\n",
  "data:  two spaces\n\n",
].join("");
const EVENTS = [
  { name: "log", data: '{"text":"Grüße, 日本, 🐦"}' },
  { name: "message", data: "one\ntwo\n" },
  { name: "state", data: "no space" },
  { name: "message", data: " two spaces" },
];

test("a stream has the same events wherever its bytes are split", () => {
  const whole = bytes(STREAM).length;
  for (let length = 1; length <= whole; length += 1) {
    const parser = new EventParser();
    expect(parse(STREAM, length, parser), `pieces of ${length}`).toEqual(EVENTS);
    expect(parser.retryMs).toBe(250);
    expect(parser.lastEventId).toBe("1-2");
  }
});

test("a stream in two pieces of any length, and with empty pieces, has the same events", () => {
  const all = bytes(STREAM);
  for (let cut = 0; cut <= all.length; cut += 1) {
    const parser = new EventParser();
    const parts = [all.subarray(0, cut), new Uint8Array(), all.subarray(cut), new Uint8Array()];
    expect(parts.flatMap((part) => parser.push(part)), `cut at ${cut}`).toEqual(EVENTS);
  }
});

test("an event that is not complete is no event, and its id does not count", () => {
  const parser = new EventParser("0-7");
  expect(parse("id: 0-8\ndata: x\n", 3, parser)).toEqual([]);
  expect(parser.lastEventId).toBe("0-7");
  expect(parse("\n", 1, parser)).toEqual([{ name: "message", data: "x" }]);
  expect(parser.lastEventId).toBe("0-8");
});

test("an id with a null character and a retry that is no number are ignored", () => {
  const parser = new EventParser("0-1");
  parse("id: 0\u0000\nretry: soon\ndata: x\n\n", 1, parser);
  expect(parser.lastEventId).toBe("0-1");
  expect(parser.retryMs).toBeUndefined();
  parse("id\ndata: x\n\n", 1, parser);
  expect(parser.lastEventId).toBe("");
});

test("a line without an end is not read for ever", () => {
  const parser = new EventParser();
  const piece = new Uint8Array(8 << 20).fill(0x61);
  expect(() => {
    for (let count = 0; count < 10; count += 1) parser.push(piece);
  }).toThrow(RangeError);
});
