"""The credit book: one partition for each segment and account, in which no two checkouts spend the same credit."""

from shared.stores.credit_book.book import CreditBook
from shared.stores.credit_book.checks import CheckDesk

__all__ = ["CheckDesk", "CreditBook"]
