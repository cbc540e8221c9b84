import assert from "node:assert/strict";
import fc from "fast-check";
import {
  collectionProblem,
  confinementProblem,
  databaseProblem,
  idProblem,
  indexProblem,
  nameText,
  pipelineProblem,
  routingProblem,
} from "../src/names.js";
import { anyCharacter } from "./support/any-character.js";

const text = fc.string({ unit: anyCharacter, maxLength: 300 });
/** Names that every kind of place allows. */
const plainName = fc.stringMatching(/^[a-z][a-z0-9_-]{0,40}$/);
const checks = [
  databaseProblem,
  indexProblem,
  idProblem,
  routingProblem,
  pipelineProblem,
  (name: string) => collectionProblem("db", name),
];

function refuses(check: (name: string) => string | undefined, names: readonly string[]): void {
  for (const name of names) assert.ok(check(name), `${JSON.stringify(name)} must be refused`);
}

function allows(check: (name: string) => string | undefined, names: readonly string[]): void {
  for (const name of names) assert.equal(check(name), undefined, JSON.stringify(name));
}

describe("names from messages", () => {
  it("are allowed everywhere when they are plain", () => {
    fc.assert(
      fc.property(
        plainName.filter((name) => !["admin", "local", "config"].includes(name)),
        (name) => {
          for (const check of checks) assert.equal(check(name), undefined);
        },
      ),
    );
  });

  it("are refused in words, everywhere, when empty, with half a character, or too long", () => {
    for (const check of checks) refuses(check, ["", "a\ud800b", "x".repeat(513), "é".repeat(257)]);
    fc.assert(
      fc.property(text, (name) => {
        for (const check of checks) {
          const problem = check(name);
          if (problem !== undefined) assert.match(problem, /^[a-z][^\r\n\0]*$/);
        }
      }),
    );
  });

  it("of databases follow MongoDB's rules and never reach the server's own", () => {
    refuses(databaseProblem, [
      "admin",
      "ADMIN",
      "Local",
      "config",
      "a b",
      "a.b",
      "a/b",
      "a\\b",
      'a"b',
      "$a",
      "a*",
      "<a",
      "a>",
      "a:b",
      "a|b",
      "a?b",
      "a\0",
      "x".repeat(64),
      "é".repeat(32),
    ]);
    allows(databaseProblem, ["x".repeat(63), "größe", "Admin2", "a-b_c"]);
    fc.assert(
      fc.property(text, fc.constantFrom(...Array.from('/\\. "$*<>:|?\0')), fc.nat(), (name, character, at) => {
        const position = at % (name.length + 1);
        assert.ok(databaseProblem(name.slice(0, position) + character + name.slice(position)));
      }),
    );
  });

  it("of collections follow MongoDB's rules and never reach the server's own", () => {
    const check = (name: string): string | undefined => collectionProblem("db", name);

    refuses(check, ["system.users", "a.system.b", "a$b", "a\0", ".a", "a.", "a..b", "x".repeat(253)]);
    allows(check, ["x".repeat(252), "systems", "a.b", "system", "Ä b"]);
    assert.ok(collectionProblem("db", "x".repeat(233), true));
    assert.equal(collectionProblem("db", "x".repeat(232), true), undefined);
  });

  it("of indices follow Elasticsearch's rules and cannot name several, the server's own, or a date", () => {
    refuses(indexProblem, [
      ".kibana",
      "<logs-{now/d}>",
      "_all",
      "-a",
      "+a",
      "a,b",
      "a*",
      "a?",
      "Logs",
      "a b",
      "a/b",
      "a\\b",
      'a"b',
      "a|b",
      "a#b",
      "a:b",
      "a>b",
      ".",
      "..",
      "a\nb",
      "x".repeat(256),
    ]);
    allows(indexProblem, ["x".repeat(255), "logs-app-default", "a.b", "größe", "a+b", "a_b"]);
    fc.assert(
      fc.property(text, fc.constantFrom(...Array.from(' "*,/<>?\\|#:')), fc.nat(), (name, character, at) => {
        const position = at % (name.length + 1);
        assert.ok(indexProblem(name.slice(0, position) + character + name.slice(position)));
      }),
    );
  });

  it("of ids, routing and pipelines end at 512 bytes, and no pipeline is bypassed", () => {
    for (const check of [idProblem, routingProblem, pipelineProblem]) allows(check, ["x".repeat(512), "A b/c"]);
    refuses(routingProblem, ["a\nb", "a\u0085"]);
    refuses(pipelineProblem, ["_none", "a\u0000"]);
    allows(idProblem, ["_none", "a\nb"]);
  });

  it("stay behind their fixed prefix", () => {
    fc.assert(
      fc.property(text, text, (name, prefix) => {
        const isConfined = prefix !== "" && name.startsWith(prefix) && name.length > prefix.length;

        assert.equal(confinementProblem(name, prefix) === undefined, isConfined);
        assert.equal(confinementProblem(name, prefix, true), undefined);
      }),
    );
    assert.equal(confinementProblem("sensors-a", "sensors-"), undefined);
    refuses((name) => confinementProblem(name, "sensors-"), ["sensors-", "sensor-a", "logs"]);
    assert.ok(confinementProblem("anything", ""));
  });

  it("are text or numbers, and nothing else", () => {
    assert.equal(nameText("a"), "a");
    assert.equal(nameText(42), "42");
    assert.equal(nameText(7n), "7");
    for (const value of [undefined, null, true, {}, ["a"], NaN, Infinity, () => 1])
      assert.equal(nameText(value), undefined);
  });
});
