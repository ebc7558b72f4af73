"""Cancel, and what the nodes ask of a device."""


class InterruptProcessingException(BaseException):
    """As the newest hosts have it; older ones derive it from Exception."""


interrupted = False
"""A test sets this to press Cancel."""


def throw_exception_if_processing_interrupted():
    global interrupted
    if interrupted:
        interrupted = False
        raise InterruptProcessingException


def should_use_bf16(device):
    return True
