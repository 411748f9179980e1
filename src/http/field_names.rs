//! The names of a request's fields. `fields.rs` reads each field and `openapi/requests.rs` describes it; both match on
//! these enums, so a field that one of them lacks does not compile.

use strum::{EnumString, IntoStaticStr, VariantArray};

/// A field of a request, by its name in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "camelCase")]
pub(super) enum Field {
    Code,
    File,
    Globals,
    Input,
    Kind,
    Language,
    Limits,
    Priority,
    RunAt,
    Seed,
    Source,
}

impl Field {
    /// Every field, in alphabetical order.
    pub(super) const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the field's name in the API.
    pub(super) fn name(self) -> &'static str {
        self.into()
    }

    /// Returns whether only `POST /api/jobs` has the field.
    pub(super) fn is_for_jobs_only(self) -> bool {
        matches!(self, Self::Priority | Self::RunAt)
    }

    /// Returns whether the field's part of a form is JSON.
    pub(super) fn is_json_in_forms(self) -> bool {
        matches!(
            self,
            Self::Globals | Self::Input | Self::Limits | Self::Priority | Self::Seed
        )
    }

    /// Returns the names of all fields, for the message that rejects an unknown one.
    pub(super) fn names() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|field| field.name()).collect();
        names.join(", ")
    }
}

/// A field of `limits`, by its name in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "camelCase")]
pub(super) enum LimitField {
    MemoryBytes,
    OutputBytes,
    TimeoutMs,
}

impl LimitField {
    /// Every field, in alphabetical order.
    pub(super) const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the field's name in the API.
    pub(super) fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the names of all fields, for the message that rejects an unknown one.
    pub(super) fn names() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|field| field.name()).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_of_the_api() {
        assert_eq!(
            Field::names(),
            "code, file, globals, input, kind, language, limits, priority, runAt, seed, source"
        );
        assert_eq!(LimitField::names(), "memoryBytes, outputBytes, timeoutMs");
        assert_eq!("runAt".parse(), Ok(Field::RunAt));
        assert!("RunAt".parse::<Field>().is_err());
    }
}
