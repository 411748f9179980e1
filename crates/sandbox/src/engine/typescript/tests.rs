//! TypeScript and the JavaScript that it becomes, byte for byte.

use super::canvas::Canvas;
use super::{Refusal, erase};
use proptest::prelude::*;
use rquickjs::{Context, Runtime};
use sandpiper_domain::ScriptKind;

fn erased(text: &str, kind: ScriptKind) -> Result<String, Refusal> {
    let mut canvas = Canvas::new(text);
    erase::erase(&mut canvas, kind)?;
    Ok(canvas.into_text())
}

/// Checks pairs of a text and what it becomes: of the same length, with the same line ends.
#[track_caller]
fn check(kind: ScriptKind, pairs: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (text, expected) in pairs {
        let javascript = erased(text, kind).unwrap_or_else(|refusal| format!("{refusal:?}"));
        if javascript != *expected {
            wrong.push_str(&format!("\n{text:?}\n{javascript:?}\n{expected:?}\n"));
            continue;
        }
        assert_eq!(javascript.len(), text.len(), "{text}");
        let line_ends = |text: &str| -> Vec<usize> {
            text.match_indices(['\n', '\r', '\u{2028}', '\u{2029}'])
                .map(|(place, _)| place)
                .collect()
        };
        assert_eq!(line_ends(&javascript), line_ends(text), "{text}");
    }
    assert!(wrong.is_empty(), "text, JavaScript, expected:\n{wrong}");
}

#[test]
fn types_of_variables_and_functions_are_erased() {
    check(
        ScriptKind::Script,
        &[
            ("const x: number = 1", "const x         = 1"),
            ("let a: A, b!: B, c", "let a   , b    , c"),
            (
                "const { a, b }: { a: A; b: B } = c",
                "const { a, b }                 = c",
            ),
            (
                "function f(a: A, b?: B, ...c: C[]): D { return a }",
                "function f(a   , b    , ...c     )    { return a }",
            ),
            (
                "function f<const T extends U>(this: A, b = 1 as number) {}",
                "function f                   (         b = 1          ) {}",
            ),
            ("function f(this: A) {}", "function f(       ) {}"),
            ("function f(this: A,) {}", "function f(        ) {}"),
            (
                "function f(x: unknown): asserts x is A {}",
                "function f(x         )                 {}",
            ),
            (
                "const f = (a: A): B => a as C",
                "const f = (a   )    => a     ",
            ),
            (
                "const f = async <T,>(a: T) => a",
                "const f = async     (a   ) => a",
            ),
            ("const f = <T>(a: T) => a", "const f =    (a   ) => a"),
            (
                "const o = { f<T>(this: A, a: T): T { return a }, get g(): A { return 1 } }",
                "const o = { f   (         a   )    { return a }, get g()    { return 1 } }",
            ),
            (
                "try {} catch (error: unknown) {}",
                "try {} catch (error         ) {}",
            ),
            (
                "for (const x: any of y as Z[]) {}",
                "for (const x      of y       ) {}",
            ),
            (
                "async function* f(): AsyncGenerator<A> { yield 1 as B }",
                "async function* f()                    { yield 1      }",
            ),
            ("let x:\n  | A\n  | B = 1", "let x \n     \n      = 1"),
            ("const é: Größe = 'ö' as Ü", "const é          = 'ö'      "),
        ],
    );
}

#[test]
fn types_in_expressions_are_erased() {
    check(
        ScriptKind::Script,
        &[
            ("x as A as B", "x          "),
            ("[1] as const", "[1]         "),
            ("x satisfies A", "x            "),
            ("a!.b![c!]!()", "a .b [c ] ()"),
            ("a! = 1", "a  = 1"),
            ("(a as any).b = 1", "(a       ).b = 1"),
            ("a?.b!.c", "a?.b .c"),
            ("f<A, B>(x)", "f      (x)"),
            ("new A<B>()", "new A   ()"),
            ("new A<B>", "new A   "),
            ("f<A>`x`", "f   `x`"),
            ("const g = f<A>;", "const g = f   ;"),
            ("a?.<A>(b)", "a?.   (b)"),
            ("`${x as A}` + y!", "`${x     }` + y "),
            ("a ? (b as A) : c!", "a ? (b     ) : c "),
            ("a = b = c as A", "a = b = c     "),
            ("a < b > (c)", "a       (c)"),
            ("x as (y: A) => B", "x               "),
            ("x as A /* why */ + 1", "x      /* why */ + 1"),
            ("[x as A, ...y as B]", "[x     , ...y     ]"),
            ("({ a: x as A, [b!]: 1 })", "({ a: x     , [b ]: 1 })"),
            ("f(...x as A)", "f(...x     )"),
            ("[a as any] = b", "[a       ] = b"),
            ("typeof x as A", "typeof x     "),
        ],
    );
}

#[test]
fn statements_that_are_types_leave_a_semicolon() {
    check(
        ScriptKind::Module,
        &[
            ("type A = B", ";         "),
            ("type A = B;\n[1]", ";          \n[1]"),
            (
                "interface A {\n  b: C\n}\n(1)",
                ";            \n      \n \n(1)",
            ),
            ("declare const a: A, b", ";                    "),
            ("declare function f(): void;", ";                          "),
            ("declare class A { b: C }", ";                       "),
            ("declare enum A { B }", ";                   "),
            (
                "declare module 'x' { export const a: A }",
                ";                                       ",
            ),
            (
                "declare namespace N { const a: A }",
                ";                                 ",
            ),
            ("declare global { var a: A }", ";                          "),
            (
                "function f(a: A): B;\nfunction f(a) {}",
                ";                   \nfunction f(a) {}",
            ),
            (
                "export default function f(a: A): B;\nexport default function f(a) {}",
                ";                                  \nexport default function f(a) {}",
            ),
            (
                "namespace N { type A = B; export interface C {} }",
                ";                                                ",
            ),
            (
                "namespace A.B { export type C = D }",
                ";                                  ",
            ),
            ("import type A from './a'", ";                       "),
            (
                "import type { A } from './a'",
                ";                           ",
            ),
            (
                "import type A = require('a')",
                ";                           ",
            ),
            (
                "export type { A } from './a'",
                ";                           ",
            ),
            ("export type * from './a'", ";                       "),
            (
                "type A = 1; export type { A }",
                ";           ;                ",
            ),
            ("export interface A {}", ";                    "),
            ("export type A = B", ";                "),
            (
                "export default interface A {}",
                ";                            ",
            ),
            ("export declare const a: A", ";                        "),
            ("export as namespace N", ";                    "),
        ],
    );
}

#[test]
fn names_of_types_leave_imports_and_exports() {
    check(
        ScriptKind::Module,
        &[
            (
                "import { type A, b } from './a'",
                "import {         b } from './a'",
            ),
            (
                "import a, { b, type C } from './a'",
                "import a, { b,        } from './a'",
            ),
            (
                "import { type A } from './a'",
                "import {        } from './a'",
            ),
            (
                "import { type A as B, type as c } from './a'",
                "import {              type as c } from './a'",
            ),
            (
                "const b = 1; export { type A, b, type C, }",
                "const b = 1; export {         b,         }",
            ),
            (
                "export { type A, b } from './a'",
                "export {         b } from './a'",
            ),
            // A name that is not marked stays, whatever it is.
            ("import { A } from './a'", "import { A } from './a'"),
            ("import type from './a'", "import type from './a'"),
            ("import {} from './a'", "import {} from './a'"),
        ],
    );
}

#[test]
fn types_in_classes_are_erased() {
    check(
        ScriptKind::Script,
        &[
            (
                "abstract class A<T> extends B<T> implements C, D<T> {}",
                "         class A    extends B                       {}",
            ),
            ("class A implements B {}", "class A              {}"),
            (
                "const A = class implements B {}",
                "const A = class              {}",
            ),
            (
                "const A = class<T> extends (B as any) implements C {}",
                "const A = class    extends (B       )              {}",
            ),
            (
                "class A { private readonly x: B = 1; static override y?: C; }",
                "class A {                  x    = 1; static          y    ; }",
            ),
            (
                "class A { x!: B; #y: C = 1; ['z']?: D; [w!]: E = 2 }",
                "class A { x    ; #y    = 1; ['z']    ; [w ]    = 2 }",
            ),
            (
                "class A { declare x: B; abstract y: C; [k: string]: D; z = 1 }",
                "class A { ;             ;              ;               z = 1 }",
            ),
            (
                "class A { constructor(); constructor(x?: B) { f<C>() } }",
                "class A { ;              constructor(x    ) { f   () } }",
            ),
            (
                "class A { f(): B; f(x?: C): B { return x! } abstract g(): D }",
                "class A { ;       f(x    )    { return x  } ;               }",
            ),
            (
                "class A { public static async *f<T>(): AsyncGenerator<T> {} }",
                "class A {        static async *f   ()                    {} }",
            ),
            (
                "class A { protected get x(): B { return 1 } set x(v: B) {} }",
                "class A {           get x()    { return 1 } set x(v   ) {} }",
            ),
            (
                "class A { f?<T>(this: A): void {} static { g<B>() } }",
                "class A { f    (       )       {} static { g   () } }",
            ),
            (
                "class A { public = 1; readonly() {} declare }",
                "class A { public = 1; readonly() {} declare }",
            ),
        ],
    );
}

#[test]
fn no_line_goes_on_or_ends_by_what_is_erased() {
    check(
        ScriptKind::Script,
        &[
            // An expression with a type at its end.
            ("const a = b as A\n(c)", "const a = b ;   \n(c)"),
            ("a = b satisfies A\n[c]", "a = b ;          \n[c]"),
            ("a = b as A as B\n`c`", "a = b      ;   \n`c`"),
            ("a = () => b as A\n// c\n(d)", "a = () => b ;   \n// c\n(d)"),
            ("(b as A)\n(c)", "(b     )\n(c)"),
            ("a = b as A\n+ c", "a = b     \n+ c"),
            ("a = b!\n(c)", "a = b \n(c)"),
            // A statement that is gone.
            (
                "const a = b\ntype T = A\n(c)",
                "const a = b\n;         \n(c)",
            ),
            ("a = b\ninterface T {}\n[c]", "a = b\n;             \n[c]"),
            (
                "a = b\ntype T = A\n<U>(c: U) => c",
                "a = b\n;         \n   (c   ) => c",
            ),
            // An element of a class that is gone, and modifiers.
            (
                "class A { a = 1\n declare b: B\n [c] = 2 }",
                "class A { a = 1\n ;           \n [c] = 2 }",
            ),
            (
                "class A { a = 1\n public [b] = 2 }",
                "class A { a = 1\n ;      [b] = 2 }",
            ),
            (
                "class A { a = 1\n private *b() {} }",
                "class A { a = 1\n ;       *b() {} }",
            ),
            (
                "class A { a = b as B\n [c] = 2 }",
                "class A { a = b ;   \n [c] = 2 }",
            ),
            (
                "class A { a = 1\n readonly in = 2 }",
                "class A { a = 1\n ;        in = 2 }",
            ),
            // Fields whose names are modifiers.
            ("class A { get: B\n f() {} }", "class A { get;  \n f() {} }"),
            (
                "class A { static?: B\n f() {} }",
                "class A { static;   \n f() {} }",
            ),
            ("class A { set!: B; f() {} }", "class A { set    ; f() {} }"),
            // Brackets of arrow functions.
            ("async <\n T\n>(a: T) => a", "async (\n  \n  a   ) => a"),
            (
                "() => { return <\n T,\n>(a) => a }",
                "() => { return (\n   \n  a) => a }",
            ),
            ("(a): {\n b: B\n} => a", "(a    \n     \n) => a"),
            ("(a /* b */) // c\n : A => a", "(a /* b */  // c\n   ) => a"),
            (
                "async (a): Promise<\n A> => a",
                "async (a           \n  ) => a",
            ),
            ("(a): A /* b */ => a", "(a)    /* b */ => a"),
        ],
    );
}

#[test]
fn javascript_stays_as_it_is() {
    let scripts = [
        "",
        "#!/usr/bin/env node\n1",
        "'use strict'; with_ = 1",
        "with (a) { b }",
        "010 + 1",
        "await f(); for await (const a of b) { c }",
        "var await = 1; await + 1",
        "a <!-- b",
        "return 1",
        "const type = 1, as = 2, declare = 3; type + as",
        "type\n= 1; declare\nvar x",
        "label: for (;;) { continue label }",
        "class A { static #x = 1; get; set; async; static; 'a' = 1; 2 = 3; *b() {} async *c() {} }",
        "a ? (b) : c => d; a ? b : (c)",
        "/[(]/.test('(') / 2; a++ / 2",
        "`a${`b${c}`}`",
        "(async () => { await x })()",
        "let { a = 1, ...b } = c; [d, , ...e] = f",
        "x ||= y ?? z; a ** -b; delete a.b, void 0",
        "try { throw 1 } catch { } finally { }",
        "switch (a) { case 1: default: b }",
        "if (a) ; else b; do c; while (d) e",
        "import('./a.js', { with: { type: 'json' } })",
        "label: function f() {}",
        "𝒳 = 'é\\u2028'; \u{feff}\u{a0}y",
    ];
    for text in scripts {
        for kind in [ScriptKind::Script, ScriptKind::Function] {
            assert_eq!(erased(text, kind).as_deref(), Ok(text), "{text}");
        }
    }
    // At the top level of a function alone.
    let target = "new.target";
    assert_eq!(erased(target, ScriptKind::Function).as_deref(), Ok(target));
    assert!(erased(target, ScriptKind::Script).is_err());
    let modules = [
        "import a, * as b from 'c'; import 'd'; export { a as default, b as 'e f' }; export * from 'g'",
        "export default class {} ",
        "export default async function () {}; export const { a, b } = await c; import.meta.url",
    ];
    for text in modules {
        assert_eq!(erased(text, ScriptKind::Module).as_deref(), Ok(text));
    }
}

#[test]
fn what_cannot_be_erased_is_named_with_its_place() {
    for (text, names, at) in [
        ("1;\n enum A { B }", "`enum`", 4),
        ("const enum A { B }", "`const enum`", 0),
        ("export enum A { B }", "`enum`", 7),
        ("namespace A { export const b = 1 }", "`namespace`", 0),
        ("module A { f() }", "`namespace`", 0),
        (
            "class A { constructor(private a: B) {} }",
            "parameter property",
            22,
        ),
        (
            "class A { constructor(a, readonly b) {} }",
            "parameter property",
            25,
        ),
        ("class A { @b c = 1 }", "decorator", 10),
        ("@a class B {}", "decorator", 0),
        ("class A { f(@b c) {} }", "decorator", 12),
        ("import a = require('b')", "`import … =`", 0),
        ("import a = b.c", "`import … =`", 0),
        ("export = a", "`export =`", 0),
        ("const a = <B>c", "`<T>x`", 10),
        ("(<any>a).b = 1", "`<T>x`", 1),
        ("class A { accessor b = 1 }", "`accessor`", 10),
        ("<A>b; enum C {}", "`<T>x`", 0),
        ("enum C {} <A>b", "`enum`", 0),
    ] {
        let refusal = erased(text, ScriptKind::Module).unwrap_err();
        assert!(refusal.message.contains(names), "{text}: {refusal:?}");
        assert_eq!(refusal.at, at, "{text}");
    }
}

#[test]
fn a_text_that_does_not_parse_has_the_place_of_its_first_error() {
    for (kind, text, at) in [
        (ScriptKind::Script, "let a: = 1", 7),
        (ScriptKind::Script, "f(1", 3),
        (ScriptKind::Function, "const a = ;", 10),
        (ScriptKind::Script, "await 1; let x: ;", 16),
    ] {
        let refusal = erased(text, kind).unwrap_err();
        assert_eq!(refusal.at, at, "{text}: {refusal:?}");
        assert!(!refusal.message.is_empty());
    }
}

/// Statements that may follow each other in any order.
const STATEMENTS: [&str; 16] = [
    "{ const a: number = 1 as any; }",
    "type T_N = { é: string } | 'ü';",
    "interface I_N {\n  a: string;\n}",
    "{ const f = <T,>(x: T): T => x!; f<number>(1) }",
    "{ abstract class A { private x?: string; abstract y(): void; declare z: 1 } }",
    "function f_N(this: void, a?: string): void;",
    "function f_N(a?: any) { return a as string }",
    "declare const d_N: Map<string, number>",
    "{ let x = [1] as const\n(1) }",
    "{ const s: string = 'é𝒳' satisfies string; }",
    "// a comment: string",
    "`${1 as number}`;",
    "{ const g = async (\n  a: { b: string },\n): Promise<\n  void\n> => {}; }",
    "{ class B<T> { get: T\n  f(): T { return this.get } } }",
    "1 as number;",
    "{ let y!: string; }",
];

/// Returns the place that the engine gives to the error of `text`.
fn place_of_error(text: &str) -> String {
    let context = Context::full(&Runtime::new().unwrap()).unwrap();
    context.with(|ctx| {
        let ended = ctx.eval::<(), _>(text);
        assert!(ended.is_err(), "{text}");
        let thrown = ctx.catch();
        let error = thrown.as_object().expect("an error");
        let message: String = error.get("message").unwrap();
        assert_eq!(message, "boom is not defined", "{text}");
        error.get("stack").unwrap()
    })
}

/// Parts of texts that are mostly no TypeScript.
const PARTS: [&str; 64] = [
    "a",
    "b",
    "T",
    "1",
    "'s'",
    "`t`",
    "`${",
    "}`",
    "/r/",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "<",
    ">",
    "=",
    "=>",
    ":",
    "?",
    "?.",
    "!",
    ".",
    "...",
    ",",
    ";",
    "\n",
    "|",
    "&",
    "+",
    "-",
    "*",
    "@",
    "#x",
    "é",
    "as",
    "satisfies",
    "type",
    "interface",
    "enum",
    "namespace",
    "declare",
    "abstract",
    "class",
    "extends",
    "implements",
    "function",
    "async",
    "await",
    "const",
    "let",
    "import",
    "export",
    "from",
    "default",
    "get",
    "static",
    "readonly",
    "private",
    "this",
    "new",
    "return",
    "keyof",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_error_behind_types_has_its_line_and_column(
        chosen in prop::collection::vec((0..STATEMENTS.len(), any::<bool>()), 0..12),
    ) {
        let mut text = String::from("// first\n");
        for (number, (index, ends_line)) in chosen.iter().enumerate() {
            let statement = STATEMENTS[*index];
            text.push_str(&statement.replace("_N", &number.to_string()));
            let is_comment = statement.starts_with("//");
            text.push_str(if *ends_line || is_comment { "\n" } else { " ;" });
        }
        let blank: String = text
            .chars()
            .map(|character| match character {
                '\n' => "\n".to_owned(),
                other => " ".repeat(other.len_utf8()),
            })
            .collect();
        let javascript = erased(&format!("{text}boom()"), ScriptKind::Script).unwrap();
        prop_assert_eq!(javascript.len(), text.len() + 6);
        prop_assert_eq!(place_of_error(&javascript), place_of_error(&format!("{blank}boom()")));
    }

    #[test]
    fn any_text_is_erased_or_refused(
        chosen in prop::collection::vec((0..PARTS.len(), any::<bool>()), 0..60),
        kind in prop::sample::select(ScriptKind::ALL.to_vec()),
    ) {
        let mut text = String::new();
        for (index, has_space) in chosen {
            text.push_str(PARTS[index]);
            text.push_str(if has_space { " " } else { "" });
        }
        match erased(&text, kind) {
            Ok(javascript) => prop_assert_eq!(javascript.len(), text.len()),
            Err(refusal) => prop_assert!(refusal.at <= text.len()),
        }
    }
}
