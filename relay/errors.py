"""The faults of the relay. A docstring is the default message."""


class RelayError(Exception):
    """something went wrong inside the relay"""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class ConfigError(RelayError):
    """the configuration is not usable"""


class SpoolError(RelayError):
    """the spool can not be read or written"""


class SpoolFull(SpoolError):
    """no space left for mail in the spool"""


class NoSuchMail(RelayError):
    """no mail of that name is known"""


class DamagedMail(RelayError):
    """what should be an exported mail is none"""


class SpoolDamaged(SpoolError):
    """the spool's database is damaged"""


class SpoolGone(SpoolDamaged):
    """files of the spool's database are not in their place any more"""


class BodyDamaged(SpoolError):
    """a mail's octets are not those that were accepted"""


class LeaseLost(RelayError):
    """this claim is no longer ours: its lease ran out or another worker settled it"""


class HopError(RelayError):
    """a next hop could not be reached or understood"""


class DnsFault(RelayError):
    """DNS gives no answer at this moment; `ours`: our resolver is to blame, not the servers of that name"""

    def __init__(self, message: str, *, ours: bool = False) -> None:
        super().__init__(message)
        self.ours = ours


class NoToken(HopError):
    """there is no access token to log in to a next hop with"""


class RuleError(RelayError):
    """a rewriting rule failed on this mail"""

    def __init__(self, rule: str, cause: BaseException) -> None:
        super().__init__(f"rule {rule}: {cause!r}")
        self.rule = rule


def may_pass(fault: BaseException) -> bool:
    """True for a fault of what surrounds us, not of the mail: the spool's, or memory, threads or files are short."""
    if isinstance(fault, RuntimeError):
        return "start new thread" in str(fault)  # all that Python says of it
    return isinstance(fault, SpoolError | MemoryError | OSError) and not isinstance(fault, BodyDamaged)
