const test = require("node:test");
const assert = require("node:assert");

test("greets", () => assert.equal(require("greet")("x"), "こんにちは x"));
test("has what only builds have", () => assert.ok(require("only-here")));
