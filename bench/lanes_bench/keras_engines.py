"""Keras on TensorFlow and on JAX, each with its own compiled training step (as Keras's guides write them)."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from lanes_bench.engine import MOMENTUM, RATE, Engine
from lanes_bench.keras_nets import keras_network
from lanes_bench.workloads import TINY, Workload, pictures

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class KerasWorks:
    """What both have in common: the model, the loss, the optimizer, the pictures."""

    def __init__(self, engine: Engine, work: Workload) -> None:
        import keras

        self.keras, self.engine, self.work = keras, engine, work
        images, labels = pictures(work)
        self.images = keras.ops.convert_to_tensor(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
        self.labels = keras.ops.convert_to_tensor(labels.astype(np.int32))

    def build(self) -> None:
        """The model and its compiled step."""
        keras = self.keras
        keras.utils.set_random_seed(0)
        began = time.perf_counter()
        self.model = keras_network(keras, self.work)
        self.network_seconds = time.perf_counter() - began
        self.optimizer = keras.optimizers.SGD(RATE, momentum=MOMENTUM)
        self.optimizer.build(self.model.trainable_variables)
        self.loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.parameters = sum(int(np.prod(weight.shape)) for weight in self.model.trainable_weights)
        self.compile()

    def compile(self) -> None:
        raise NotImplementedError


class TensorflowWorks(KerasWorks):
    """One tf.function for the step."""

    def compile(self) -> None:
        import tensorflow as tf

        model, loss, optimizer = self.model, self.loss, self.optimizer

        @tf.function(jit_compile=bool(self.engine.setting.get("xla")))
        def step(images: Any, labels: Any) -> Any:
            with tf.GradientTape() as tape:
                value = loss(labels, model(images, training=True))
            gradients = tape.gradient(value, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            return value

        @tf.function(jit_compile=bool(self.engine.setting.get("xla")))
        def forward(images: Any) -> Any:
            return model(images, training=False)

        self.step, self.forward = step, forward

    def train(self, steps: int) -> float:
        for _ in range(steps):
            value = self.step(self.images, self.labels)
        return float(value.numpy())

    def evaluate(self, steps: int) -> float:
        for _ in range(steps):
            outputs = self.forward(self.images)
        return float(outputs.numpy().sum())


class JaxWorks(KerasWorks):
    """A pure function of the state, whose old buffers it may use again."""

    def compile(self) -> None:
        import jax

        model, loss, optimizer = self.model, self.loss, self.optimizer

        def value_of(learned: Any, other: Any, images: Any, labels: Any) -> Any:
            outputs, other = model.stateless_call(learned, other, images, training=True)
            return loss(labels, outputs), other

        gradient = jax.value_and_grad(value_of, has_aux=True)

        def step(state: Any, images: Any, labels: Any) -> Any:
            learned, other, moments = state
            (value, other), gradients = gradient(learned, other, images, labels)
            learned, moments = optimizer.stateless_apply(moments, gradients, learned)
            return (learned, other, moments), value

        def forward(state: Any, images: Any) -> Any:
            return model.stateless_call(state[0], state[1], images, training=False)[0]

        self.state = tuple(
            [variable.value for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
        )
        self.step, self.forward = jax.jit(step, donate_argnums=0), jax.jit(forward)

    def train(self, steps: int) -> float:
        for _ in range(steps):
            self.state, value = self.step(self.state, self.images, self.labels)
        return float(value)

    def evaluate(self, steps: int) -> float:
        for _ in range(steps):
            outputs = self.forward(self.state, self.images)
        return float(np.asarray(outputs).sum())


def prepared(engine: Engine, work: Workload) -> KerasWorks:
    """Everything but the network: its pictures are in memory, and the framework has trained something once."""
    kind = JaxWorks if engine.setting["backend"] == "jax" else TensorflowWorks
    tiny = kind(engine, TINY)
    tiny.build()
    tiny.train(2)
    tiny.evaluate(1)
    return kind(engine, work)
