"""What the house of the written day sells, to whom, and at which prices: three shops of one maker of kitchen goods."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sandbox.day.plan import Account
from sandbox.kit.entities import LegalEntity, legal_entities


@dataclass(frozen=True, slots=True)
class Product:
    """One article: net list price by currency, and the tax rate by legal entity where it is not the usual one."""

    code: str
    name: str
    prices: dict[str, Decimal]
    rates: dict[str, Decimal]

    def price(self, entity: LegalEntity) -> Decimal:
        """The net list price in the entity's currency."""
        return self.prices[entity.currency]

    def rate(self, entity: LegalEntity) -> Decimal:
        """The tax rate that the article bears there."""
        return self.rates.get(entity.code, entity.tax_rate)


_FOOD: Final = {"GB01": Decimal(0), "JP01": Decimal("0.08"), "KW01": Decimal(0)}
_BOOK: Final = {"GB01": Decimal(0)}
_WARMTH: Final = {"GB01": Decimal("0.05")}
_USUAL: Final[dict[str, Decimal]] = {}

# code, name, GBP, JPY, KWD, rates
_SHELF: Final = (
    ("KET-COP-12", "Copper kettle, 1.2 litres", "64.95", "12800", "25.375", _USUAL),
    ("KET-ENA-20", "Enamel kettle, 2 litres", "38.50", "7600", "15.050", _USUAL),
    ("POT-STN-08", "Stoneware teapot for four", "27.25", "5400", "10.650", _USUAL),
    ("POT-IRN-06", "Cast iron teapot", "49.00", "9800", "19.125", _USUAL),
    ("CUP-STN-02", "Stoneware cup, pair", "14.75", "2900", "5.765", _USUAL),
    ("CUP-GLS-04", "Glass tumbler, box of four", "11.99", "2380", "4.685", _USUAL),
    ("PAN-CAR-24", "Carbon steel pan, 24 cm", "42.80", "8500", "16.720", _USUAL),
    ("PAN-CAR-30", "Carbon steel pan, 30 cm", "54.60", "10900", "21.335", _USUAL),
    ("KNF-PET-12", "Petty knife, 12 cm", "58.33", "11600", "22.795", _USUAL),
    ("KNF-BRD-25", "Bread knife, 25 cm", "36.67", "7300", "14.325", _USUAL),
    ("BRD-OAK-40", "Oak board, 40 cm", "31.45", "6200", "12.285", _USUAL),
    ("TWL-LIN-03", "Linen towel, set of three", "18.90", "3700", "7.385", _USUAL),
    ("APR-CAN-01", "Canvas apron", "24.17", "4800", "9.445", _USUAL),
    ("SPN-OLV-05", "Olive wood spoons, five", "16.67", "3300", "6.515", _USUAL),
    ("JAR-GLS-10", "Storage jar, 1 litre", "7.49", "1480", "2.925", _USUAL),
    ("MIL-PEP-18", "Pepper mill, 18 cm", "29.99", "5900", "11.715", _USUAL),
    ("SCL-BAL-05", "Balance scale, 5 kg", "79.50", "15800", "31.065", _USUAL),
    ("BSK-WIL-35", "Willow basket", "33.33", "6600", "13.025", _USUAL),
    ("TEA-ASM-250", "Assam leaf tea, 250 g", "9.60", "1850", "3.755", _FOOD),
    ("TEA-SEN-100", "Sencha leaf tea, 100 g", "8.25", "1600", "3.225", _FOOD),
    ("TEA-MNT-080", "Mint and lemon tea, 80 g", "6.15", "1190", "2.405", _FOOD),
    ("COF-YEM-250", "Mokha coffee, 250 g", "15.40", "3050", "6.015", _FOOD),
    ("BOK-BRD-01", "Book: Bread in Eight Hours", "17.99", "3400", "7.035", _BOOK),
    ("STV-WRM-01", "Table warmer", "44.44", "8800", "17.365", _WARMTH),
)

PRODUCTS: Final = tuple(
    Product(code, name, {"GBP": Decimal(gbp), "JPY": Decimal(jpy), "KWD": Decimal(kwd)}, rates)
    for code, name, gbp, jpy, kwd, rates in _SHELF
)
GIFT_VOUCHER: Final = "GIFT-VOUCHER"
SAMPLE: Final = "TEA-ASM-SMP"  # on no price list: a contract price would make a gift look like a price dispute


def product(code: str) -> Product:
    """The article with this code."""
    return next(article for article in PRODUCTS if article.code == code)


def contract_prices(entity: LegalEntity, discount: str = "0.12") -> dict[str, Decimal]:
    """What a business customer pays: the list price less its discount, in the currency's decimals."""
    unit = Decimal(1).scaleb(-entity.decimals)
    return {article.code: (article.price(entity) * (1 - Decimal(discount))).quantize(unit) for article in PRODUCTS}


# entity, account, credit limit, exposure before the day, discount
_TRADE: Final = (
    ("GB01", "C-2101", "60000", "4200", "0.12"),  # a department store
    ("GB01", "C-2102", "40000", "0", "0.10"),  # a chain of tea rooms
    ("GB01", "C-2103", "25000", "1850.40", "0.08"),  # a hotel supplier
    ("GB01", "C-2104", "80000", "12000", "0.15"),  # a mail order house
    ("JP01", "C-3101", "9000000", "350000", "0.12"),
    ("JP01", "C-3102", "5000000", "0", "0.10"),
    ("KW01", "C-4101", "30000", "2500.500", "0.12"),
    ("KW01", "C-4102", "18000", "0", "0.10"),
)

NEAR_LIMIT: Final = "C-2201"
SMALL_LIMIT: Final = "C-2202"
BLOCKED: Final = "C-2203"
PRICE_BOUND: Final = "C-2204"
OVERDUE: Final = "C-2205"
SHARED_LIMIT: Final = "C-2206"
NEAR_LIMIT_KUWAIT: Final = "C-4201"


def trade_accounts(entity: LegalEntity) -> tuple[Account, ...]:
    """The business customers of one legal entity whose credit is good."""
    return tuple(
        Account(
            number, code, entity.currency, Decimal(limit), Decimal(exposure), prices=contract_prices(entity, discount)
        )
        for code, number, limit, exposure, discount in _TRADE
        if code == entity.code
    )


def awkward_accounts() -> tuple[Account, ...]:
    """The business customers that a credit check exists for."""
    britain, kuwait = legal_entities()["GB01"], legal_entities()["KW01"]
    prices = contract_prices(britain)

    def british(number: str, limit: str, exposure: str, *, blocked: bool = False, overdue_days: int = 0) -> Account:
        return Account(
            number, "GB01", "GBP", Decimal(limit), Decimal(exposure), blocked, prices=prices, overdue_days=overdue_days
        )

    return (
        british(NEAR_LIMIT, "5000", "4800"),
        british(SMALL_LIMIT, "250", "0"),
        british(BLOCKED, "20000", "0", blocked=True),
        british(PRICE_BOUND, "20000", "0"),
        british(OVERDUE, "20000", "3000", overdue_days=75),
        british(SHARED_LIMIT, "1000", "0"),
        Account(NEAR_LIMIT_KUWAIT, "KW01", "KWD", Decimal("1500"), Decimal("1480.250"), prices=contract_prices(kuwait)),
    )
