//! The currencies of ISO 4217 that money is paid in, and how the gateway counts them
//! (Stripe, "Supported currencies": <https://docs.stripe.com/currencies>).

/// How many decimals an amount of a currency has by ISO 4217, and what the gateway makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// Hundredths; also where a country uses its coins in other parts.
    Hundredths,
    /// Whole units: there is nothing smaller.
    Units,
    /// Whole units, which the gateway counts in hundredths for old customers' sake.
    UnitsAsHundredths,
    /// Hundredths by ISO 4217 (its coin is a fifth), of which the gateway moves whole units alone.
    HundredthsAsUnits,
    /// Thousandths, of which the gateway cannot move single ones: a multiple of 10.
    Thousandths,
}

impl Counting {
    /// How a currency is counted; `None` if there is no such currency. `code` in lower case.
    pub(crate) fn of(code: &str) -> Option<Self> {
        let listed = |list: &str| list.split_ascii_whitespace().any(|known| known == code);
        if listed(UNITS) {
            Some(Self::Units)
        } else if listed(UNITS_AS_HUNDREDTHS) {
            Some(Self::UnitsAsHundredths)
        } else if listed(HUNDREDTHS_AS_UNITS) {
            Some(Self::HundredthsAsUnits)
        } else if listed(THOUSANDTHS) {
            Some(Self::Thousandths)
        } else {
            listed(HUNDREDTHS).then_some(Self::Hundredths)
        }
    }

    /// What an amount must be a multiple of.
    pub(crate) const fn step(self) -> u64 {
        match self {
            Self::Hundredths | Self::Units | Self::UnitsAsHundredths => 1,
            Self::Thousandths => 10,
            Self::HundredthsAsUnits => 100,
        }
    }

    /// The gateway's number for an amount in minor units.
    pub(crate) const fn to_gateway(self, amount: u64) -> u64 {
        match self {
            Self::UnitsAsHundredths => amount.saturating_mul(100),
            Self::HundredthsAsUnits => amount / 100,
            _ => amount,
        }
    }

    /// The amount in minor units for the gateway's number; a part of one counts as one.
    pub(crate) const fn minor_units_of(self, number: u64) -> u64 {
        match self {
            Self::UnitsAsHundredths => number.div_ceil(100),
            Self::HundredthsAsUnits => number.saturating_mul(100),
            _ => number,
        }
    }
}

const UNITS: &str = "bif clp djf gnf jpy kmf krw pyg rwf vnd vuv xaf xof xpf";

const UNITS_AS_HUNDREDTHS: &str = "isk ugx";

const HUNDREDTHS_AS_UNITS: &str = "mga";

const THOUSANDTHS: &str = "bhd iqd jod kwd lyd omr tnd";

/// Without metals, funds and test codes, which nobody pays in.
const HUNDREDTHS: &str = "
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd btn bwp byn bzd
    cad cdf chf cny cop crc cup cve czk dkk dop dzd egp ern etb eur fjd fkp gbp gel ghs gip gmd
    gtq gyd hkd hnl htg huf idr ils inr irr jmd kes kgs khr kpw kyd kzt lak lbp lkr lrd lsl mad
    mdl mkd mmk mnt mop mru mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr
    pln qar ron rsd rub sar sbd scr sdg sek sgd shp sle sos srd ssp stn svc syp szl thb tjs tmt
    top try ttd twd tzs uah usd uyu uzs ved ves wst xcd xcg yer zar zmw zwg";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn currencies_are_counted_as_the_gateway_counts_them() {
        for (code, step) in [
            ("eur", Some(1)),
            ("usd", Some(1)),
            ("jpy", Some(1)),
            ("krw", Some(1)),
            ("kwd", Some(10)),
            ("bhd", Some(10)),
            ("isk", Some(1)),
            ("ugx", Some(1)),
            ("mga", Some(100)),
            ("xau", None),
            ("xxx", None),
            ("eu", None),
            ("EUR", None),
        ] {
            assert_eq!(Counting::of(code).map(Counting::step), step, "{code}");
        }
    }

    #[test]
    fn an_amount_is_the_same_money_on_both_sides() {
        for (code, amount, number) in [
            ("eur", 500, 500),
            ("jpy", 500, 500),
            ("kwd", 5000, 5000),
            ("isk", 500, 50_000),
            ("ugx", 500, 50_000),
            ("mga", 500, 5),
        ] {
            let counting = Counting::of(code).unwrap();
            assert_eq!(counting.to_gateway(amount), number, "{code}");
            assert_eq!(counting.minor_units_of(number), amount, "{code}");
        }
        let isk = Counting::UnitsAsHundredths;
        assert_eq!(isk.minor_units_of(101), 2, "a part counts as one");
    }

    #[test]
    fn every_code_is_listed_once() {
        let all = [
            UNITS,
            UNITS_AS_HUNDREDTHS,
            HUNDREDTHS_AS_UNITS,
            THOUSANDTHS,
            HUNDREDTHS,
        ]
        .join(" ");
        let mut codes: Vec<&str> = all.split_ascii_whitespace().collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
        assert!(codes.iter().all(|code| code.len() == 3));
    }
}
