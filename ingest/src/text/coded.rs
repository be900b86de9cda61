//! Enums of which a checkpoint holds numbers and a person reads names.

/// Declares an enum of plain variants, each with its name: one word. A variant's number in the checkpoint is its place, so
/// a new variant comes last and none is removed.
macro_rules! coded {
    (
        $(#[$of_type:meta])*
        $type:ident { $($(#[$of_variant:meta])* $variant:ident = $name:literal),* $(,)? }
    ) => {
        $(#[$of_type])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[$of_variant])* $variant,)*
        }

        impl $type {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name: one word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Its number in the checkpoint.
            pub(crate) fn code(self) -> u8 {
                self as u8
            }

            pub(crate) fn from_code(code: u8) -> Option<Self> {
                Self::ALL.get(code as usize).copied()
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use coded;
