//! The code made from the table of types: the enums of types, of values and of prepared parsers, and the choice of a
//! value's kind by a `match` that the compiler sees through.

macro_rules! column_types {
    ($(
        $(#[$value_doc:meta])*
        $number:literal $kind:ident($content:ty) by $parser:path {$(
            $(#[$doc:meta])*
            $type:ident
            $( ( $inner:ty ) )?
            $( { $( $(#[$field_doc:meta])* $field:ident: $field_type:ty, )* } )?
            = $declaration:path;
        )*}
    )*) => {
        /// The type of a column, by PostgreSQL's names.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum ColumnType {
            $($(
                $(#[$doc])*
                $type $( ( $inner ) )? $( { $( $(#[$field_doc])* $field: $field_type, )* } )?,
            )*)*
        }

        impl ColumnType {
            pub(crate) fn declaration(&self) -> &'static Declaration {
                match self {
                    $($( Self::$type { .. } => &$declaration, )*)*
                }
            }
        }

        /// Each type's declaration, in the order in which messages list them.
        pub(crate) static DECLARATIONS: &[&Declaration] = &[$($(&$declaration,)*)*];

        /// A column's value, borrowed from the text or payload it came from where that is possible.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Value<'a> {
            /// No value.
            Null,
            $( $(#[$value_doc])* $kind($content), )*
        }

        impl<'a> Value<'a> {
            /// The same value, owning its text.
            #[must_use]
            pub fn into_owned(self) -> Value<'static> {
                match self {
                    Self::Null => Value::Null,
                    $( Self::$kind(content) => Value::$kind(content.into_static()), )*
                }
            }

            /// The order of two values of one kind, as PostgreSQL orders them (texts and JSON by their bytes); `None`
            /// for values of two kinds, for nulls, and for NaN.
            #[must_use]
            pub fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
                match (self, other) {
                    $( (Self::$kind(left), Value::$kind(right)) => <$parser>::compare(left, right), )*
                    _ => None,
                }
            }

            /// An older schema's value, as a column of the given type, to which its own type widens, has it.
            #[must_use]
            pub fn widened(self, to: &ColumnType) -> Self {
                let widened = match &self {
                    Self::Null => None,
                    $( Self::$kind(content) => <$parser>::widened(content, to), )*
                };
                widened.unwrap_or(self)
            }

            /// Appends the value's canonical text, by which keys are equal; nothing for null.
            pub(crate) fn write_key(&self, out: &mut Vec<u8>) {
                match self {
                    Self::Null => {}
                    $( Self::$kind(content) => <$parser>::write_key(out, content), )*
                }
            }

            /// Appends the value's text as a field of CSV; nothing for null.
            pub fn write_csv(&self, out: &mut String) {
                match self {
                    Self::Null => {}
                    $( Self::$kind(content) => <$parser>::write_csv(out, content), )*
                }
            }

            /// Appends the value to a row's payload: the number of its kind, and its content. Appends its canonical
            /// text to `key`, for a column of the key.
            pub fn encode(&self, row: &mut Vec<u8>, key: Option<&mut Vec<u8>>) {
                match self {
                    Self::Null => row.push(0),
                    $( Self::$kind(content) => <$parser>::append(content, $number, row, key), )*
                }
            }
        }

        impl<'de, Context> BorrowDecode<'de, Context> for Value<'de> {
            fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
                decoder: &mut D,
            ) -> Result<Self, DecodeError> {
                match u32::decode(decoder)? {
                    0 => Ok(Self::Null),
                    $( $number => BorrowDecode::borrow_decode(decoder).map(Self::$kind), )*
                    found => Err(DecodeError::UnexpectedVariant {
                        type_name: "Value",
                        allowed: &AllowedEnumVariants::Allowed(&[0, $($number,)*]),
                        found,
                    }),
                }
            }
        }

        /// The bytes that bincode itself makes of a value, to which a test compares [`Value::encode`].
        #[cfg(test)]
        impl Encode for Value<'_> {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                match self {
                    Self::Null => 0u32.encode(encoder),
                    $( Self::$kind(content) => {
                        ($number as u32).encode(encoder)?;
                        content.encode(encoder)
                    } )*
                }
            }
        }

        /// The parser of one column, prepared for its type.
        #[derive(Debug, Clone)]
        pub(crate) enum Prepared {
            $( $kind($parser), )*
        }

        impl Prepared {
            pub(crate) fn new(column: &Column, dialect: &CsvDialect) -> Result<Self, Rejection> {
                match &column.column_type {
                    $($( ColumnType::$type { .. } => {
                        <$parser as ValueKind>::new(column, dialect).map(Self::$kind)
                    } )*)*
                }
            }

            /// Reads a text.
            ///
            /// # Errors
            /// Why it is no value.
            pub(crate) fn read<'a>(&self, bytes: &'a [u8]) -> Result<Value<'a>, Rejection> {
                match self {
                    $( Self::$kind(parser) => parser.read(bytes).map(Value::$kind), )*
                }
            }

            /// Reads a text and appends its value as [`Value::encode`] does, without making it: a value is large, and
            /// this runs for every field.
            ///
            /// # Errors
            /// As [`Prepared::read`].
            #[inline]
            pub(crate) fn encode(
                &self,
                bytes: &[u8],
                row: &mut Vec<u8>,
                key: Option<&mut Vec<u8>>,
            ) -> Result<(), Rejection> {
                match self {
                    $( Self::$kind(parser) => parser.encode(bytes, $number, row, key), )*
                }
            }

            /// The same for a column with bounds.
            ///
            /// # Errors
            /// As [`Prepared::read`], and if the value is outside of the bounds.
            pub(crate) fn encode_within(
                &self,
                bounds: &Bounds,
                bytes: &[u8],
                row: &mut Vec<u8>,
                key: Option<&mut Vec<u8>>,
            ) -> Result<(), Rejection> {
                match self {
                    $( Self::$kind(parser) => {
                        let content = parser.read(bytes)?;
                        bounds.check(bytes, |bound| match bound {
                            Value::$kind(bound) => <$parser>::compare(&content, bound),
                            _ => None,
                        })?;
                        <$parser>::append(&content, $number, row, key);
                        Ok(())
                    } )*
                }
            }
        }
    };
}
