"""KFP shells of the DFT stages."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def dft_problems(store: str, config: str, seed: int) -> str:
    """Problems: generate the embedded training and test data."""
    from components.dft.data_stages import problems
    from components.store.shell import call

    return call(problems, store=store, config=config, seed=seed)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def dft_base(store: str, config: str, seed: int, problems: str) -> str:
    """Base: pretrain the small language model of the embedded default."""
    from components.dft.training_stages import base
    from components.store.shell import call

    return call(base, store=store, config=config, seed=seed, problems=problems)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def dft_validate(store: str, config: str, seed: int, problems: str, model: str) -> str:
    """Validate: check training chats against their contract, quarantine what fails."""
    from components.dft.data_stages import validate
    from components.store.shell import call

    return call(validate, store=store, config=config, seed=seed, problems=problems, model=model)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def dft_train(store: str, config: str, seed: int, model: str, chats: str, repetition: str = "") -> str:
    """Train: fine-tune on validated chats with one loss."""
    from components.dft.training_stages import train
    from components.store.shell import call

    return call(
        train, store=store, config=config, seed=seed, model=model, chats=chats, repetition=repetition
    )  # fmt: skip


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def dft_further(store: str, config: str, seed: int, model: str, problems: str) -> str:
    """Further: fine-tune a model on validated chats, or hand it on as it is."""
    from components.dft.training_stages import further
    from components.store.shell import call

    return call(further, store=store, config=config, seed=seed, model=model, problems=problems)


@dsl.component(base_image=image("rollout"), install_kfp_package=False)
def dft_evaluate(store: str, config: str, seed: int, model: str, problems: str) -> str:
    """Evaluate: sample held-out problems with vLLM, grade every sample."""
    from components.dft.judging_stages import evaluate
    from components.store.shell import call

    return call(evaluate, store=store, config=config, seed=seed, model=model, problems=problems)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def dft_analyse(store: str, config: str, seed: int, before: str, after: str, chats: str) -> str:
    """Analyse: probabilities of the trained tokens before and after."""
    from components.dft.judging_stages import analyse
    from components.store.shell import call

    return call(analyse, store=store, config=config, seed=seed, before=before, after=after, chats=chats)


@dsl.component(base_image=image("rollout"), install_kfp_package=False)
def dft_sample(store: str, config: str, seed: int, model: str, chats: str, repetition: str = "") -> str:
    """Sample: the model's own answers to the training questions, with vLLM, the right ones kept."""
    from components.dft.data_stages import sample
    from components.store.shell import call

    return call(
        sample, store=store, config=config, seed=seed, model=model, chats=chats, repetition=repetition
    )  # fmt: skip


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def dft_dpo(store: str, config: str, seed: int, model: str, pairs: str, repetition: str = "") -> str:
    """DPO: train a model to prefer its right answers to its wrong ones."""
    from components.dft.training_stages import dpo
    from components.store.shell import call

    return call(
        dpo, store=store, config=config, seed=seed, model=model, pairs=pairs, repetition=repetition
    )  # fmt: skip


@dsl.component(base_image=image("rollout"), install_kfp_package=False)
def dft_online(store: str, config: str, seed: int, model: str, chats: str, repetition: str = "") -> str:
    """Online: train a model on its own answers to the training questions, sampled with vLLM as it learns."""
    from components.dft.training_stages import online
    from components.store.shell import call

    return call(
        online, store=store, config=config, seed=seed, model=model, chats=chats, repetition=repetition
    )  # fmt: skip


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def dft_adopt_model(store: str, config: str, seed: int) -> str:
    """Adopt a model: a Hugging Face folder from outside, checked, into the store."""
    from components.dft.data_stages import adopt_model
    from components.store.shell import call

    return call(adopt_model, store=store, config=config, seed=seed)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def dft_adopt_chats(store: str, config: str, seed: int) -> str:
    """Adopt chats: training data and sets of problems from outside, into the store."""
    from components.dft.data_stages import adopt_chats
    from components.store.shell import call

    return call(adopt_chats, store=store, config=config, seed=seed)


@dsl.component(base_image=image("rollout"), install_kfp_package=False)
def dft_arms(
    store: str,
    config: str,
    seed: int,
    base: str,
    sft: str,
    dft: str,
    iw_sft: str,
    asft: str,
    rft: str,
    own_dft: str,
    own_iw_sft: str,
    dpo: str,
    grpo: str,
    ppo: str,
    problems: str,
    chats: str,
    repetition: str,
) -> str:
    """Arms: judge a repetition's models with one vLLM engine, and what each training did to its tokens."""
    from components.dft.judging_stages import arms
    from components.store.shell import call

    return call(
        arms, store=store, config=config, seed=seed, base=base, sft=sft, dft=dft, iw_sft=iw_sft, asft=asft, rft=rft,
        own_dft=own_dft, own_iw_sft=own_iw_sft, dpo=dpo, grpo=grpo, ppo=ppo, problems=problems, chats=chats,
        repetition=repetition,
    )  # fmt: skip


@dsl.component(base_image=image("rollout"), install_kfp_package=False)
def dft_players(
    store: str,
    config: str,
    seed: int,
    base: str,
    first: str,
    second: str,
    third: str,
    untrained: str,
    unpenalised: str,
    unfiltered: str,
    problems: str,
    repetition: str,
) -> str:
    """Players: judge the solvers of a repetition of R-Zero with one vLLM engine."""
    from components.dft.judging_stages import players
    from components.store.shell import call

    return call(
        players, store=store, config=config, seed=seed, base=base, first=first, second=second, third=third,
        untrained=untrained, unpenalised=unpenalised, unfiltered=unfiltered, problems=problems, repetition=repetition,
    )  # fmt: skip


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def dft_table(store: str, config: str, seed: int, first: str, second: str, third: str) -> str:
    """Table: a row per arm over three repetitions."""
    from components.dft.judging_stages import table
    from components.store.shell import call

    return call(table, store=store, config=config, seed=seed, first=first, second=second, third=third)
