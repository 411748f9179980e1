//! Types inside expressions, and the heads of arrow functions.

use super::canvas::Canvas;
use super::erase::{Eraser, last};
use oxc_ast::ast::{ArrowFunctionBody, ArrowFunctionExpression, Expression};
use oxc_ast_visit::{Visit, walk};
use oxc_span::{GetSpan, Span};

impl Eraser<'_, '_> {
    /// Erases the types inside an expression. Goes down in a loop wherever one part of an expression is as deep as the
    /// expression is long.
    pub(super) fn erase_in_expression<'a>(&mut self, expression: &Expression<'a>) {
        let mut rest = expression;
        loop {
            rest = match rest {
                Expression::BinaryExpression(it) => {
                    self.visit_expression(&it.right);
                    &it.left
                }
                Expression::LogicalExpression(it) => {
                    self.visit_expression(&it.right);
                    &it.left
                }
                Expression::AssignmentExpression(it) => {
                    self.visit_assignment_target(&it.left);
                    &it.right
                }
                Expression::ConditionalExpression(it) => {
                    self.visit_expression(&it.test);
                    self.visit_expression(&it.consequent);
                    &it.alternate
                }
                Expression::UnaryExpression(it) => &it.argument,
                Expression::AwaitExpression(it) => &it.argument,
                Expression::ParenthesizedExpression(it) => &it.expression,
                Expression::StaticMemberExpression(it) => &it.object,
                Expression::PrivateFieldExpression(it) => &it.object,
                Expression::ComputedMemberExpression(it) => {
                    self.visit_expression(&it.expression);
                    &it.object
                }
                Expression::CallExpression(it) => {
                    if let Some(types) = &it.type_arguments {
                        self.visit_ts_type_parameter_instantiation(types);
                    }
                    self.visit_arguments(&it.arguments);
                    &it.callee
                }
                Expression::TaggedTemplateExpression(it) => {
                    if let Some(types) = &it.type_arguments {
                        self.visit_ts_type_parameter_instantiation(types);
                    }
                    self.visit_template_literal(&it.quasi);
                    &it.tag
                }
                Expression::TSAsExpression(it) => {
                    self.erase_behind(&it.expression, it.span);
                    &it.expression
                }
                Expression::TSSatisfiesExpression(it) => {
                    self.erase_behind(&it.expression, it.span);
                    &it.expression
                }
                Expression::TSNonNullExpression(it) => {
                    self.erase_mark(it.expression.span().end, b'!');
                    &it.expression
                }
                Expression::TSInstantiationExpression(it) => {
                    self.canvas.erase(it.type_arguments.span);
                    &it.expression
                }
                Expression::ArrowFunctionExpression(it) => {
                    self.erase_in_arrow_head(it);
                    self.visit_formal_parameters(&it.params);
                    match &it.body {
                        ArrowFunctionBody::FunctionBody(body) => {
                            return self.visit_function_body(body);
                        }
                        body => body.to_expression(),
                    }
                }
                other => return walk::walk_expression(self, other),
            }
        }
    }

    /// Erases what stands behind `expression` in `whole`: `as T` or `satisfies T`.
    ///
    /// With the type an expression may end where it would go on without it: `x as T`, and a line that begins with a bracket.
    /// Then a semicolon takes the place of the word.
    pub(super) fn erase_behind(&mut self, expression: &Expression<'_>, whole: Span) {
        let end = expression.span().end;
        let word = self.canvas.next_token(end);
        self.canvas.erase(Span::new(end, whole.end));
        if goes_on(self.canvas, whole.end) {
            self.canvas.put(word, b';');
        }
    }

    /// Erases the types in the head of an arrow function, but not in its parameters.
    ///
    /// No line may end between `async` and the parameters, nor before the arrow, and a line that ends behind `return` ends
    /// the statement. Where a line ends inside an erased type, the bracket next to it takes the place of its far end.
    pub(super) fn erase_in_arrow_head(&mut self, it: &ArrowFunctionExpression<'_>) {
        let parameters = it.params.span;
        if let Some(types) = &it.type_parameters {
            self.canvas.erase(types.span);
            if self.canvas.has_line_end(types.span.start, parameters.start) {
                self.canvas.put(types.span.start, b'(');
                self.canvas.erase_byte(parameters.start, b'(');
            }
        }
        if let Some(returned) = &it.return_type {
            self.canvas.erase(returned.span);
            if self.canvas.has_line_end(parameters.end, returned.span.end) {
                self.canvas.erase_byte(last(parameters), b')');
                self.canvas.put(last(returned.span), b')');
            }
        }
    }
}

/// Returns whether an expression that ends at `end` would go on with the next token, if no type stood between.
fn goes_on(canvas: &Canvas<'_>, end: u32) -> bool {
    let next = canvas.byte(canvas.next_token(end));
    matches!(next, Some(b'(' | b'[' | b'`'))
}
