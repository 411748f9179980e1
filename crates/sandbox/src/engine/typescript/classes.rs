//! Types in classes: modifiers, marks, and elements that are types alone.

use super::canvas::offset;
use super::erase::{Eraser, last};
use oxc_ast::ast::{Class, Function, MethodDefinition, PropertyDefinition, PropertyKey};
use oxc_ast_visit::Visit;
use oxc_span::{GetSpan, Span};

/// The modifiers of an element that are types alone.
const MODIFIERS: [&str; 7] = [
    "public",
    "private",
    "protected",
    "readonly",
    "override",
    "abstract",
    "declare",
];

impl Eraser<'_, '_> {
    /// Erases the types before the body of a class.
    pub(super) fn erase_in_class_head(&mut self, it: &Class<'_>) {
        self.visit_decorators(&it.decorators);
        let mut end = self.canvas.next_token(it.span.start);
        if it.r#abstract {
            end = self.erase_word(end);
        }
        // Behind `class`.
        end += self.length_of_word(end);
        if let Some(name) = &it.id {
            end = name.span.end;
        }
        if let Some(types) = &it.type_parameters {
            self.canvas.erase(types.span);
            end = types.span.end;
        }
        if let Some(heritage) = &it.heritage {
            self.visit_expression(&heritage.expression);
            end = heritage.expression.span().end;
            if let Some(types) = &heritage.type_arguments {
                self.canvas.erase(types.span);
                end = types.span.end;
            }
        }
        if let Some(last) = it.implements.last() {
            let word = self.canvas.next_token(end);
            self.canvas.erase(Span::new(word, last.span.end));
        }
    }

    pub(super) fn erase_in_method(&mut self, it: &MethodDefinition<'_>) {
        if it.value.body.is_none() {
            // Abstract, or the signature of an overload.
            return self.canvas.erase_with_end(it.span);
        }
        self.visit_decorators(&it.decorators);
        self.erase_modifiers(it.span, &it.key);
        self.visit_property_key(&it.key);
        if it.optional {
            let end = self.end_of_key(&it.key, it.computed);
            self.erase_mark(end, b'?');
        }
        self.erase_in_function(&it.value);
    }

    fn erase_in_function(&mut self, it: &Function<'_>) {
        if let Some(types) = &it.type_parameters {
            self.canvas.erase(types.span);
        }
        if let Some(this) = &it.this_param {
            self.visit_ts_this_parameter(this);
        }
        self.visit_formal_parameters(&it.params);
        if let Some(returned) = &it.return_type {
            self.canvas.erase(returned.span);
        }
        if let Some(body) = &it.body {
            self.visit_function_body(body);
        }
    }

    pub(super) fn erase_in_field(&mut self, it: &PropertyDefinition<'_>) {
        if it.declare || it.r#type.is_abstract() {
            return self.canvas.erase_with_end(it.span);
        }
        self.visit_decorators(&it.decorators);
        self.erase_modifiers(it.span, &it.key);
        self.visit_property_key(&it.key);
        let mut first_erased = None;
        if it.optional || it.definite {
            let end = self.end_of_key(&it.key, it.computed);
            let mark = if it.optional { b'?' } else { b'!' };
            first_erased = Some(self.erase_mark(end, mark));
        }
        if let Some(annotation) = &it.type_annotation {
            self.canvas.erase(annotation.span);
            first_erased = first_erased.or(Some(annotation.span.start));
        }
        if let Some(value) = &it.value {
            return self.visit_expression(value);
        }
        // A field of the name `get`, `set` or `static` would go on with the next line.
        let has_end = self.canvas.byte(last(it.span)) == Some(b';');
        if let Some(place) = first_erased.filter(|_| !has_end) {
            self.canvas.put(place, b';');
        }
    }

    /// Erases the modifiers between the start of an element and its key.
    ///
    /// A field before the element may have no semicolon. Where it would go on with what the modifiers leave, a semicolon
    /// takes their place.
    fn erase_modifiers(&mut self, element: Span, key: &PropertyKey<'_>) {
        let key = key.span().start;
        let start = self.canvas.next_token(element.start);
        let mut at = start;
        let mut is_first_erased = false;
        while at < key {
            let word = self.canvas.word(at);
            if MODIFIERS.contains(&word) {
                is_first_erased |= at == start;
                at = self.erase_word(at);
            } else if word.is_empty() {
                break;
            } else {
                // Nothing goes on with a word that stays, such as `static`.
                is_first_erased = false;
                at += self.length_of_word(at);
            }
            at = self.canvas.next_token(at);
        }
        let goes_on = matches!(self.canvas.byte(at), Some(b'[' | b'*'))
            || matches!(self.canvas.word(at), "in" | "instanceof");
        if is_first_erased && goes_on {
            self.canvas.put(start, b';');
        }
    }

    /// Erases the word at `at`. Returns where the next token begins.
    fn erase_word(&mut self, at: u32) -> u32 {
        let end = at + self.length_of_word(at);
        self.canvas.erase(Span::new(at, end));
        self.canvas.next_token(end)
    }

    fn length_of_word(&self, at: u32) -> u32 {
        offset(self.canvas.word(at).len())
    }

    /// Returns where a key ends: behind its bracket, if it is computed.
    fn end_of_key(&self, key: &PropertyKey<'_>, is_computed: bool) -> u32 {
        let end = key.span().end;
        if is_computed {
            self.canvas.next_token(end) + 1
        } else {
            end
        }
    }
}
