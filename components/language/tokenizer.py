"""An own tokenizer for generated problems: single characters, and merged pieces of the words that occur in them.

Digits, operators and punctuation are always one token each, for how numbers are cut decides how well arithmetic is
learned (Nogueira et al., arXiv 2102.13019). Only words, and the opening of the box, are merged.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from components.language.config import ProblemsConfig, TokenizerConfig
from components.language.problems import generate

PAD, UNKNOWN, BOS, EOS = "<pad>", "<unk>", "<bos>", "<eos>"
ROLES = ("<system>", "<user>", "<assistant>")
CHARACTERS = ["\n", *map(chr, range(32, 127))]
PIECES = r"\\boxed\{| ?[A-Za-z]+|.|\n"

CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role not in ('system', 'user', 'assistant') %}
        {{- raise_exception('a message has role ' + message.role + '; use system, user or assistant') }}
    {%- endif %}
    {{- '<' + message.role + '>' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{ message.content + eos_token }}{%- endgeneration %}
    {%- else %}
        {{- message.content + eos_token }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<assistant>' }}
{%- endif %}
"""
"""One token before each message and one after it. `generation` marks what an assistant says, for loss masks."""


def create(config: TokenizerConfig, problems: ProblemsConfig, seed: int, folder: Path) -> PreTrainedTokenizerFast:
    """Learn the tokenizer from generated problems and save it in `folder` as `AutoTokenizer` reads it.

    Printable ASCII and the line break come through unchanged; every other character becomes one `<unk>`. The same
    arguments give the same bytes.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN, fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    tokenizer.decoder = decoders.Fuse()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=[PAD, UNKNOWN, BOS, EOS, *ROLES],
        initial_alphabet=CHARACTERS,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(problems, seed, config.examples), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=BOS,
        eos_token=EOS,
        extra_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(folder)
    return fast


def _texts(problems: ProblemsConfig, seed: int, examples: int) -> Iterator[str]:
    for example in islice(generate(problems, seed), examples):
        for message in example.messages:
            yield message.content
