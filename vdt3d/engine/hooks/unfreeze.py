"""UnfreezeHook: a head learns before its backbone, whose parts then join from the last to the first."""

from mmengine.dist import get_world_size
from mmengine.hooks import Hook

from vdt3d.engine.runner import Runner
from vdt3d.models.backbones.layer_order import layer_order, part_of
from vdt3d.registry import HOOKS


@HOOKS.register_module()
class UnfreezeHook(Hook):
    """Keeps a backbone as it was loaded and sets its parts free one by one (Howard and Ruder, ULMFiT, ACL 2018).

    A frozen part has no gradients, and its norms keep their statistics. How far it has come follows from the number
    of epochs (iterations), so a resumed run goes on as if it had not stopped.

    Args:
        every: epochs, or in a run that counts them iterations, until the next part joins; the last one joins after the
            first ``every``. None: the backbone stays as it is.

    Raises:
        ValueError: ``every`` is not positive; (on use) a backbone that does not tell the order of its layers, or
            several processes without ``find_unused_parameters=True``.
    """

    def __init__(self, every: int | None):
        if every is not None and every < 1:
            raise ValueError(f"every={every}: parts join after 1 epoch (iteration) or more; None for never")
        self.every = every

    def before_train(self, runner: Runner) -> None:
        if get_world_size() > 1 and not runner.cfg.get("find_unused_parameters"):
            raise ValueError("parts that freeze on several processes want find_unused_parameters=True in the config")
        model = runner.bare_model
        order, modules = layer_order(model), dict(model.named_modules())
        self._modules = [[modules[name] for name in part if name in modules] for part in order]
        self._parameters = [[] for _ in order]
        for name, parameter in model.named_parameters():
            place = part_of(name, order)
            if parameter.requires_grad and place < len(order):  # what the config froze stays frozen
                self._parameters[place].append(parameter)
        self._frozen = -1

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        done = runner.iter if runner.by_iterations else runner.epoch
        joined = 0 if self.every is None else done // self.every
        frozen = max(0, len(self._parameters) - joined)
        for place in range(frozen):
            for module in self._modules[place]:
                if module.training:  # the loop has just said train()
                    module.eval()
        if frozen == self._frozen:
            return
        self._frozen = frozen
        for place, parameters in enumerate(self._parameters):
            for parameter in parameters:
                parameter.requires_grad_(place >= frozen)
        learning = sum(p.requires_grad for p in runner.model.parameters())
        runner.logger.info(f"{frozen} parts of the backbone are frozen, {learning} tensors learn")

    def after_train(self, runner: Runner) -> None:
        for parameter in (parameter for part in self._parameters for parameter in part):
            parameter.requires_grad_(True)
