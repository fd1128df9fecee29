"""Training on a cluster: a stage's training as a TrainJob of Kubeflow Trainer, started, followed and taken away."""
