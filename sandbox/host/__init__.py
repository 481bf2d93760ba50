"""The functions host: runs the real app through Microsoft's runtime library, behind HTTP, Service Bus and timers.

It is as strict as Azure where an app could come to rely on leniency (keys, stripped headers, 404 on a wrong method,
abandon at once, locks that expire), and differs where tests must not depend on a clock: timers fire on demand.
"""
