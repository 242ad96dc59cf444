//! What is private to a user: a value that does not print.

use std::fmt;

/// A value that neither `Debug` nor a serializer shows; whoever needs it says so with [`Private::expose`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Private<T>(T);

impl<T> Private<T> {
    /// Hides a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value: for stores and prompts, never for logs.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Private")
    }
}

impl<T> From<T> for Private<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl From<&str> for Private<String> {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_value_does_not_print() {
        let private = Private::<String>::from("diabetes");
        assert_eq!(format!("{private:?} {:?}", Some(&private)), "Private Some(Private)");
        assert_eq!(private.expose(), "diabetes");
    }
}
