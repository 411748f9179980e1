//! Statements that are types alone: nothing of them runs.

use oxc_ast::ast::{
    Declaration, ExportDefaultDeclarationKind, Statement, TSNamespaceDeclaration,
    TSNamespaceDeclarationBody,
};

/// Returns whether nothing of a statement runs.
pub(super) fn is_type(statement: &Statement<'_>) -> bool {
    if let Some(declaration) = statement.as_declaration() {
        return is_type_declaration(declaration);
    }
    match statement {
        Statement::ImportDeclaration(import) => import.import_kind.is_type(),
        Statement::ExportAllDeclaration(export) => export.export_kind.is_type(),
        Statement::ExportNamedDeclaration(export) => export.export_kind.is_type(),
        Statement::ExportFromDeclaration(export) => export.export_kind.is_type(),
        Statement::ExportDeclaration(export) => is_type_declaration(&export.declaration),
        Statement::ExportDefaultDeclaration(export) => match &export.declaration {
            ExportDefaultDeclarationKind::TSInterfaceDeclaration(_) => true,
            // The signature of an overload.
            ExportDefaultDeclarationKind::FunctionDeclaration(function) => function.body.is_none(),
            _ => false,
        },
        Statement::TSNamespaceExportDeclaration(_) => true,
        _ => false,
    }
}

fn is_type_declaration(declaration: &Declaration<'_>) -> bool {
    match declaration {
        Declaration::TSTypeAliasDeclaration(_)
        | Declaration::TSInterfaceDeclaration(_)
        | Declaration::TSExternalModuleDeclaration(_)
        | Declaration::TSGlobalDeclaration(_) => true,
        Declaration::VariableDeclaration(variables) => variables.declare,
        Declaration::FunctionDeclaration(function) => function.declare || function.body.is_none(),
        Declaration::ClassDeclaration(class) => class.declare,
        Declaration::TSEnumDeclaration(one) => one.declare,
        Declaration::TSNamespaceDeclaration(namespace) => {
            namespace.declare || has_types_alone(namespace)
        }
        Declaration::TSImportEqualsDeclaration(import) => import.import_kind.is_type(),
    }
}

/// Returns whether a namespace has no values: TypeScript makes no object of it then.
fn has_types_alone(namespace: &TSNamespaceDeclaration<'_>) -> bool {
    let mut namespace = namespace;
    loop {
        match &namespace.body {
            TSNamespaceDeclarationBody::TSNamespaceDeclaration(inner) => namespace = inner,
            TSNamespaceDeclarationBody::TSModuleBlock(block) => {
                return block.directives.is_empty() && block.body.iter().all(is_type);
            }
        }
    }
}
