//! The shoppers and what they do.

use std::fmt::Write as _;

use fake::rand::rngs::ChaCha8Rng;
use fake::rand::{Rng, RngExt, SeedableRng};
use jiff::Timestamp;
use uuid::Uuid;

use crate::Error;
use crate::catalogue::Catalogue;

/// The columns of every file.
pub const HEADER: [&str; 9] = [
    "event_id",
    "event_type",
    "user_id",
    "product_id",
    "category",
    "price",
    "quantity",
    "session_id",
    "event_time",
];

/// The event types that shoppers make unless others are named.
pub const EVENT_TYPES: [&str; 3] = ["view", "add_to_cart", "purchase"];

/// How many shoppers are in the shop at any time.
const SHOPPERS: usize = 40;
/// From how many of the last events one is repeated.
const REPEATABLE: usize = 1_000;

/// Which events to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    /// The types to write. Those of [`EVENT_TYPES`] have their place in a session; any other stands
    /// somewhere behind a view. What is not named is left out.
    pub event_types: Vec<String>,
    /// The same seed makes the same events.
    pub seed: u64,
    /// The share of events that repeat an earlier one, id and all, 0 or more and less than 1.
    pub duplicates: f64,
}

impl Events {
    /// All event types, nothing repeated.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            event_types: EVENT_TYPES.map(str::to_owned).to_vec(),
            seed,
            duplicates: 0.0,
        }
    }
}

/// A seed for events that need not be made again.
#[must_use]
pub fn random_seed() -> u64 {
    fake::rand::random()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    View,
    AddToCart,
    Purchase,
    /// Any other type, by its position among the others.
    Other(usize),
}

/// Something that a shopper will do.
#[derive(Debug, Clone, Copy)]
struct Intent {
    act: Act,
    product: usize,
    quantity: Option<u32>,
}

/// A visit to the shop; anonymous ones have no user.
#[derive(Debug)]
struct Session {
    id: Option<Uuid>,
    user: Option<u64>,
    /// What is still to be done, the next one last.
    intents: Vec<Intent>,
}

#[derive(Debug, Clone, Copy)]
struct Event {
    id: Uuid,
    intent: Intent,
    user: Option<u64>,
    session: Option<Uuid>,
    time: Timestamp,
}

/// The shop in motion: events in the order of their time.
#[derive(Debug)]
pub(crate) struct Shop {
    rng: ChaCha8Rng,
    catalogue: Catalogue,
    view: bool,
    add_to_cart: bool,
    purchase: bool,
    others: Vec<String>,
    duplicates: f64,
    sessions: Vec<Session>,
    /// The last events in a ring, if some are to be repeated.
    recent: Vec<Event>,
    made: usize,
    /// For numbers on their way into a field.
    text: String,
}

impl Shop {
    pub(crate) fn new(events: &Events) -> Result<Self, Error> {
        if !(0.0..1.0).contains(&events.duplicates) {
            return Err(Error::BadShare(events.duplicates));
        }
        let named = |name: &str| events.event_types.iter().any(|own| own == name);
        let others: Vec<String> = events
            .event_types
            .iter()
            .filter(|name| !name.is_empty() && !EVENT_TYPES.contains(&name.as_str()))
            .cloned()
            .collect();
        let mut rng = ChaCha8Rng::seed_from_u64(events.seed);
        let shop = Self {
            catalogue: Catalogue::new(&mut rng),
            rng,
            view: named("view"),
            add_to_cart: named("add_to_cart"),
            purchase: named("purchase"),
            others,
            duplicates: events.duplicates,
            sessions: Vec::new(),
            recent: Vec::new(),
            made: 0,
            text: String::new(),
        };
        if !(shop.view || shop.add_to_cart || shop.purchase) && shop.others.is_empty() {
            return Err(Error::NoEventTypes);
        }
        Ok(shop)
    }

    /// A time between two events, in microseconds, a tenth of a second on average.
    pub(crate) fn pause_us(&mut self) -> i64 {
        self.rng.random_range(1..200_000)
    }

    /// A number of events, each in the range as likely as any other.
    pub(crate) fn rows_between(&mut self, min: u32, max: u32) -> u32 {
        self.rng.random_range(min..=max)
    }

    /// Writes the next event, which happens at `time`; times may not go back.
    pub(crate) fn write_next(
        &mut self,
        time: Timestamp,
        out: &mut csv::Writer<Vec<u8>>,
    ) -> csv::Result<()> {
        let repeats = !self.recent.is_empty()
            && self.duplicates > 0.0
            && self.rng.random_bool(self.duplicates);
        let event = if repeats {
            self.recent[self.rng.random_range(0..self.recent.len())]
        } else {
            self.next(time)
        };
        self.write(&event, out)
    }

    fn next(&mut self, time: Timestamp) -> Event {
        let (intent, user, session) = loop {
            if self.sessions.len() < SHOPPERS {
                let session = self.enter();
                self.sessions.push(session);
                continue;
            }
            let chosen = self.rng.random_range(0..SHOPPERS);
            let Some(intent) = self.sessions[chosen].intents.pop() else {
                self.sessions[chosen] = self.enter();
                continue;
            };
            if self.is_wanted(intent.act) {
                let session = &self.sessions[chosen];
                break (intent, session.user, session.id);
            }
        };
        let event = Event {
            id: self.uuid(),
            intent,
            user,
            session,
            time,
        };
        if self.duplicates > 0.0 {
            if self.recent.len() < REPEATABLE {
                self.recent.push(event);
            } else {
                self.recent[self.made % REPEATABLE] = event;
            }
            self.made += 1;
        }
        event
    }

    fn is_wanted(&self, act: Act) -> bool {
        match act {
            Act::View => self.view,
            Act::AddToCart => self.add_to_cart,
            Act::Purchase => self.purchase,
            Act::Other(_) => true,
        }
    }

    /// A new shopper, and all that he will do.
    fn enter(&mut self) -> Session {
        // A client that keeps no session looks at one thing and is gone.
        if self.rng.random_bool(0.01) {
            let product = self.catalogue.choose_product(&mut self.rng);
            return Session {
                id: None,
                user: None,
                intents: vec![Intent {
                    act: Act::View,
                    product,
                    quantity: None,
                }],
            };
        }
        let user = (!self.rng.random_bool(0.08)).then(|| self.catalogue.choose_user(&mut self.rng));
        let mut intents = Vec::new();
        let mut cart: Vec<Intent> = Vec::new();
        for _ in 0..self.rng.random_range(1..=8) {
            let product = self.catalogue.choose_product(&mut self.rng);
            let view = Intent {
                act: Act::View,
                product,
                quantity: None,
            };
            intents.push(view);
            if self.rng.random_bool(0.2) {
                intents.push(view);
            }
            if !self.others.is_empty() && self.rng.random_bool(0.3) {
                let act = Act::Other(self.rng.random_range(0..self.others.len()));
                intents.push(Intent { act, ..view });
            }
            let in_cart = cart.iter().any(|intent| intent.product == product);
            if !in_cart && self.rng.random_bool(0.25) {
                let addition = Intent {
                    act: Act::AddToCart,
                    quantity: Some(self.quantity()),
                    ..view
                };
                intents.push(addition);
                cart.push(addition);
            }
        }
        if self.rng.random_bool(0.4) {
            intents.extend(cart.into_iter().map(|intent| Intent {
                act: Act::Purchase,
                ..intent
            }));
        }
        intents.reverse();
        Session {
            id: Some(self.uuid()),
            user,
            intents,
        }
    }

    /// Mostly one.
    fn quantity(&mut self) -> u32 {
        match self.rng.random_range(0..10) {
            0..7 => 1,
            7..9 => 2,
            _ => self.rng.random_range(3..=10),
        }
    }

    fn uuid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    fn write(&mut self, event: &Event, out: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
        let product = &self.catalogue.products[event.intent.product];
        let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
        out.write_field(event.id.hyphenated().encode_lower(&mut buffer).as_bytes())?;
        out.write_field(match event.intent.act {
            Act::View => "view",
            Act::AddToCart => "add_to_cart",
            Act::Purchase => "purchase",
            Act::Other(index) => &self.others[index],
        })?;
        write_display(out, &mut self.text, event.user)?;
        write_display(out, &mut self.text, Some(product.id))?;
        out.write_field(product.category.as_deref().unwrap_or_default())?;
        let cents = product.price_cents;
        let price = format_args!("{}.{:02}", cents / 100, cents % 100);
        write_display(out, &mut self.text, Some(price))?;
        write_display(out, &mut self.text, event.intent.quantity)?;
        match event.session {
            Some(id) => {
                out.write_field(id.hyphenated().encode_lower(&mut buffer).as_bytes())?;
            }
            None => out.write_field("")?,
        }
        write_display(out, &mut self.text, Some(format_args!("{:.6}", event.time)))?;
        out.write_record(None::<&[u8]>)
    }
}

/// Writes a value, or an empty field for none.
fn write_display(
    out: &mut csv::Writer<Vec<u8>>,
    text: &mut String,
    value: Option<impl std::fmt::Display>,
) -> csv::Result<()> {
    text.clear();
    if let Some(value) = value {
        write!(text, "{value}").expect("a String takes every text");
    }
    out.write_field(&text)
}
