"""Why a finding is there: from what the flows recorded of its order, and from a second look at the systems by key.

The join compares what stands in the month; here each order that differs is looked up by its key. What is known to
wait, to be a person's case or no ledger matter is explained; a document of its own right stands; what nothing accounts
for stays unexplained, with the words of what was found: who was altered, what is gone, what nobody posted.
"""

from shared.reports.explaining.explained import WAITS_FOR_BILLING, Explained
from shared.reports.explaining.orders import explain

__all__ = ["WAITS_FOR_BILLING", "Explained", "explain"]
