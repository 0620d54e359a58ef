"""Which endorsements need no second look: exactly those that this process made, byte for byte."""

from fabric.devledger.own_endorsements import OwnEndorsements


def test_only_the_very_signature_of_the_very_message_is_known() -> None:
    own = OwnEndorsements()
    own.remember(b"response and peer", b"signature")
    assert own.made(b"response and peer", b"signature")
    assert not own.made(b"response and peer", b"another")
    assert not own.made(b"another response", b"signature")
    assert not OwnEndorsements().made(b"response and peer", b"signature")


def test_the_oldest_are_forgotten_first() -> None:
    own = OwnEndorsements(kept=2)
    for number in range(3):
        own.remember(b"%d" % number, b"signature")
    assert [own.made(b"%d" % number, b"signature") for number in range(3)] == [False, True, True]
