//! What the shop sells, and to whom.

use fake::Fake;
use fake::faker::company::en::CompanyName;
use fake::rand::RngExt;
use fake::rand::rngs::ChaCha8Rng;

const PRODUCTS: u64 = 2_000;
const USERS: u64 = 50_000;

/// Most products are in one of these, at a price in cents that is usual there; the ones that need quotes
/// are meant to be here.
const CATEGORIES: [(&str, u64); 24] = [
    ("electronics", 19_900),
    ("books", 1_900),
    ("clothing", 4_900),
    ("shoes", 8_900),
    ("home & kitchen", 5_900),
    ("garden", 3_900),
    ("toys", 2_900),
    ("sports", 6_900),
    ("beauty", 2_400),
    ("groceries", 600),
    ("pets", 1_900),
    ("music", 1_500),
    ("office", 2_900),
    ("outdoor", 12_900),
    ("automotive", 8_900),
    ("jewelry", 29_900),
    ("Toys, Games & Puzzles", 3_400),
    ("Monitors, 27\"", 34_900),
    ("\"Vintage\" watches", 59_900),
    ("Möbel & Küche", 44_900),
    ("Bücher, gebraucht", 700),
    ("Friluftsliv på fjellet", 14_900),
    ("日用品", 900),
    ("Кухня, посуда", 3_900),
];
const BRAND_PRICE: u64 = 7_900;

/// A thing on sale.
#[derive(Debug)]
pub(crate) struct Product {
    pub(crate) id: u64,
    pub(crate) category: Option<String>,
    pub(crate) price_cents: u64,
}

/// What the shop sells and who comes, with how often each is chosen.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) products: Vec<Product>,
    product_popularity: Popularity,
    user_activity: Popularity,
}

impl Catalogue {
    pub(crate) fn new(rng: &mut ChaCha8Rng) -> Self {
        Self {
            products: (1..=PRODUCTS)
                .map(|rank| product(1_000 + rank, rng))
                .collect(),
            product_popularity: Popularity::new(PRODUCTS, 10),
            user_activity: Popularity::new(USERS, 500),
        }
    }

    /// The position of a product among the products.
    pub(crate) fn choose_product(&self, rng: &mut ChaCha8Rng) -> usize {
        self.product_popularity.choose(rng)
    }

    pub(crate) fn choose_user(&self, rng: &mut ChaCha8Rng) -> u64 {
        self.user_activity.choose(rng) as u64 + 1
    }
}

/// Zipf's law: what stands at rank r is chosen with a weight of 1 / (r + offset). The weights are
/// integers, so that every machine chooses the same.
#[derive(Debug)]
struct Popularity {
    /// The sum of the weights up to and with each rank.
    cumulated: Vec<u64>,
}

impl Popularity {
    fn new(ranks: u64, offset: u64) -> Self {
        let mut sum = 0;
        let cumulated = (0..ranks)
            .map(|rank| {
                sum += 1_000_000_000 / (rank + offset);
                sum
            })
            .collect();
        Self { cumulated }
    }

    fn choose(&self, rng: &mut ChaCha8Rng) -> usize {
        let sum = self.cumulated.last().copied().unwrap_or(1);
        let point = rng.random_range(0..sum);
        self.cumulated.partition_point(|end| *end <= point)
    }
}

fn product(id: u64, rng: &mut ChaCha8Rng) -> Product {
    let (category, usual_price) = CATEGORIES[rng.random_range(0..CATEGORIES.len())];
    let (category, usual_price) = match rng.random_range(0..100) {
        0..4 => (None, usual_price),
        // A brand's own shop, often with a comma: `Hansen, Berg and Sons`.
        4..10 => (Some(CompanyName().fake_with_rng(rng)), BRAND_PRICE),
        _ => (Some(category.to_owned()), usual_price),
    };
    // From a quarter of what is usual to four times that, rather less than more.
    let percent = 25 * rng.random_range(1..=4) * rng.random_range(1..=4);
    let about = usual_price * percent / 100;
    let cents = about - about % 50 + 100 * rng.random_range(0..5);
    // Half of the prices are a cent below the round number.
    let price_cents = cents - u64::from(rng.random_bool(0.5));
    Product {
        id,
        category,
        price_cents,
    }
}
