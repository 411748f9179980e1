//! The parts of a text that are TypeScript: the visitor of the syntax tree.
//!
//! The text is parsed by oxc. The tree decides nothing but places: what is no TypeScript stays byte for byte. Left-leaning
//! trees, such as a long sum, are walked in loops. Everything else recurses, as the parser has before (`guarded`).

use super::Refusal;
use super::canvas::{Canvas, index};
use super::statements;
use oxc_allocator::Allocator;
use oxc_ast::ast::{
    AccessorProperty, ArrowFunctionExpression, Class, Decorator, ExportFromDeclaration,
    ExportNamedDeclaration, ExportSpecifier, Expression, FormalParameter, ImportDeclaration,
    ImportDeclarationSpecifier, MethodDefinition, PropertyDefinition, Statement, TSAsExpression,
    TSEnumDeclaration, TSExportAssignment, TSImportEqualsDeclaration, TSIndexSignature,
    TSInstantiationExpression, TSNamespaceDeclaration, TSNonNullExpression, TSSatisfiesExpression,
    TSThisParameter, TSTypeAnnotation, TSTypeAssertion, TSTypeParameterDeclaration,
    TSTypeParameterInstantiation, VariableDeclarator,
};
use oxc_ast_visit::{Visit, walk};
use oxc_parser::{ParseOptions, Parser};
use oxc_span::{GetSpan, LabeledSpan, SourceType, Span};
use sandpiper_domain::ScriptKind;

const ENUM: &str = "`enum` cannot be erased: use an object with `as const`";
const CONST_ENUM: &str = "`const enum` cannot be erased: use an object with `as const`";
const NAMESPACE: &str = "a `namespace` with values cannot be erased: use a module, or an object";
const IMPORT_EQUALS: &str = "`import … =` cannot be erased: use `import … from`";
const EXPORT_EQUALS: &str = "`export =` cannot be erased: use `export default`";
const ASSERTION: &str = "an assertion `<T>x` cannot be erased: write `x as T`";
const DECORATOR: &str = "a decorator cannot be erased: call a function instead";
const PARAMETER_PROPERTY: &str = "a parameter property (`public`, `private`, `protected`, `readonly` or `override`) cannot be erased: declare a field, and assign it in the constructor";
const ACCESSOR: &str = "`accessor` cannot be erased: write a getter and a setter";

/// Erases the types of a text that is of this kind.
pub(super) fn erase(canvas: &mut Canvas<'_>, kind: ScriptKind) -> Result<(), Refusal> {
    // In a module `await` is a keyword at the top level, as it is in scripts and functions here.
    let strict = SourceType::ts().with_module(true);
    let sloppy = match kind {
        ScriptKind::Module => return attempt(canvas, strict).map_err(Failure::into_refusal),
        ScriptKind::Script => SourceType::ts().with_script(true),
        ScriptKind::Function => SourceType::ts().with_commonjs(true),
    };
    let first = match attempt(canvas, strict) {
        Err(Failure::DoesNotParse(refusal)) => refusal,
        ended => return ended.map_err(Failure::into_refusal),
    };
    // Scripts may use `await` as a name, and have comments of HTML.
    attempt(canvas, sloppy).map_err(|second| match second.into_refusal() {
        // Of two ways to parse a text, the one that gets further was meant.
        second if second.at > first.at => second,
        _ => first,
    })
}

enum Failure {
    DoesNotParse(Refusal),
    CannotBeErased(Refusal),
}

impl Failure {
    fn into_refusal(self) -> Refusal {
        match self {
            Self::DoesNotParse(refusal) | Self::CannotBeErased(refusal) => refusal,
        }
    }
}

fn attempt(canvas: &mut Canvas<'_>, source_type: SourceType) -> Result<(), Failure> {
    let allocator = Allocator::new();
    let options = ParseOptions {
        // The engine has better words for a `return` that is in no function.
        allow_return_outside_function: true,
        ..ParseOptions::default()
    };
    let source = canvas.source();
    let parsed = Parser::new(&allocator, source, source_type)
        .with_options(options)
        .parse();
    let errors = parsed.diagnostics.errors();
    let places = errors.map(|error| (place_of(&error.labels, source), error));
    if let Some((at, first)) = places.min_by_key(|(at, _)| *at) {
        return Err(Failure::DoesNotParse(Refusal {
            message: first.message.to_string(),
            at,
        }));
    }
    let mut eraser = Eraser {
        canvas,
        refusal: None,
    };
    eraser.visit_program(&parsed.program);
    eraser
        .refusal
        .map_or(Ok(()), |refusal| Err(Failure::CannotBeErased(refusal)))
}

/// Returns the place of an error of the parser: that of its first label.
fn place_of(labels: &[LabeledSpan], source: &str) -> usize {
    let first = labels.first();
    first.map_or(source.len(), |label| index(label.offset()))
}

pub(super) struct Eraser<'c, 't> {
    pub(super) canvas: &'c mut Canvas<'t>,
    refusal: Option<Refusal>,
}

impl Eraser<'_, '_> {
    /// Notes what cannot be erased. The first in the text counts.
    pub(super) fn refuse(&mut self, span: Span, message: &str) {
        let at = index(span.start);
        if self.refusal.as_ref().is_none_or(|first| at < first.at) {
            self.refusal = Some(Refusal {
                message: message.to_owned(),
                at,
            });
        }
    }

    /// Erases the mark (`?` or `!`) that is the first token behind `at`. Returns its place.
    pub(super) fn erase_mark(&mut self, at: u32, mark: u8) -> u32 {
        let place = self.canvas.next_token(at);
        self.canvas.erase_byte(place, mark);
        place
    }

    fn erase_types_of_exports(&mut self, specifiers: &[ExportSpecifier<'_>]) {
        for specifier in specifiers {
            if specifier.export_kind.is_type() {
                self.canvas.erase_entry(specifier.span);
            }
        }
    }
}

impl<'a> Visit<'a> for Eraser<'_, '_> {
    fn visit_statement(&mut self, it: &Statement<'a>) {
        if statements::is_type(it) {
            self.canvas.erase_with_end(it.span());
        } else {
            walk::walk_statement(self, it);
        }
    }

    fn visit_expression(&mut self, it: &Expression<'a>) {
        self.erase_in_expression(it);
    }

    fn visit_ts_type_annotation(&mut self, it: &TSTypeAnnotation<'a>) {
        self.canvas.erase(it.span);
    }

    fn visit_ts_type_parameter_declaration(&mut self, it: &TSTypeParameterDeclaration<'a>) {
        self.canvas.erase(it.span);
    }

    fn visit_ts_type_parameter_instantiation(&mut self, it: &TSTypeParameterInstantiation<'a>) {
        self.canvas.erase(it.span);
    }

    fn visit_ts_this_parameter(&mut self, it: &TSThisParameter<'a>) {
        self.canvas.erase_entry(it.span);
    }

    fn visit_ts_as_expression(&mut self, it: &TSAsExpression<'a>) {
        self.erase_behind(&it.expression, it.span);
        self.visit_expression(&it.expression);
    }

    fn visit_ts_satisfies_expression(&mut self, it: &TSSatisfiesExpression<'a>) {
        self.erase_behind(&it.expression, it.span);
        self.visit_expression(&it.expression);
    }

    fn visit_ts_non_null_expression(&mut self, it: &TSNonNullExpression<'a>) {
        self.erase_mark(it.expression.span().end, b'!');
        self.visit_expression(&it.expression);
    }

    fn visit_ts_instantiation_expression(&mut self, it: &TSInstantiationExpression<'a>) {
        self.canvas.erase(it.type_arguments.span);
        self.visit_expression(&it.expression);
    }

    fn visit_variable_declarator(&mut self, it: &VariableDeclarator<'a>) {
        if it.definite {
            self.erase_mark(it.id.span().end, b'!');
        }
        walk::walk_variable_declarator(self, it);
    }

    fn visit_formal_parameter(&mut self, it: &FormalParameter<'a>) {
        if it.accessibility.is_some() || it.readonly || it.r#override {
            self.refuse(it.span, PARAMETER_PROPERTY);
        }
        if it.optional {
            self.erase_mark(it.pattern.span().end, b'?');
        }
        walk::walk_formal_parameter(self, it);
    }

    fn visit_arrow_function_expression(&mut self, it: &ArrowFunctionExpression<'a>) {
        self.erase_in_arrow_head(it);
        self.visit_formal_parameters(&it.params);
        self.visit_arrow_function_body(&it.body);
    }

    fn visit_class(&mut self, it: &Class<'a>) {
        self.erase_in_class_head(it);
        walk::walk_class_body(self, &it.body);
    }

    fn visit_method_definition(&mut self, it: &MethodDefinition<'a>) {
        self.erase_in_method(it);
    }

    fn visit_property_definition(&mut self, it: &PropertyDefinition<'a>) {
        self.erase_in_field(it);
    }

    fn visit_accessor_property(&mut self, it: &AccessorProperty<'a>) {
        if it.r#type.is_abstract() {
            self.canvas.erase_with_end(it.span);
        } else {
            self.refuse(it.span, ACCESSOR);
        }
    }

    /// Called for an element of a class alone: other index signatures stand in types.
    fn visit_ts_index_signature(&mut self, it: &TSIndexSignature<'a>) {
        self.canvas.erase_with_end(it.span);
    }

    fn visit_import_declaration(&mut self, it: &ImportDeclaration<'a>) {
        for specifier in it.specifiers.iter().flatten() {
            if let ImportDeclarationSpecifier::ImportSpecifier(specifier) = specifier
                && specifier.import_kind.is_type()
            {
                self.canvas.erase_entry(specifier.span);
            }
        }
    }

    fn visit_export_named_declaration(&mut self, it: &ExportNamedDeclaration<'a>) {
        self.erase_types_of_exports(&it.specifiers);
    }

    fn visit_export_from_declaration(&mut self, it: &ExportFromDeclaration<'a>) {
        self.erase_types_of_exports(&it.specifiers);
    }

    fn visit_decorator(&mut self, it: &Decorator<'a>) {
        self.refuse(it.span, DECORATOR);
    }

    fn visit_ts_type_assertion(&mut self, it: &TSTypeAssertion<'a>) {
        self.refuse(it.span, ASSERTION);
    }

    fn visit_ts_enum_declaration(&mut self, it: &TSEnumDeclaration<'a>) {
        self.refuse(it.span, if it.r#const { CONST_ENUM } else { ENUM });
    }

    fn visit_ts_namespace_declaration(&mut self, it: &TSNamespaceDeclaration<'a>) {
        self.refuse(it.span, NAMESPACE);
    }

    fn visit_ts_import_equals_declaration(&mut self, it: &TSImportEqualsDeclaration<'a>) {
        self.refuse(it.span, IMPORT_EQUALS);
    }

    fn visit_ts_export_assignment(&mut self, it: &TSExportAssignment<'a>) {
        self.refuse(it.span, EXPORT_EQUALS);
    }
}

/// Returns the place of the last byte of a span.
pub(super) fn last(span: Span) -> u32 {
    span.end.saturating_sub(1)
}
